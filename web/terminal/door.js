// The way to the agent on this machine. The key came behind the # of the address, and stays in this browser.

const KEPT = "hundi-terminal-key";

function key() {
  const given = location.hash.slice(1);
  if (/^[0-9a-f]{32}$/.test(given)) {
    localStorage.setItem(KEPT, given);
    history.replaceState(null, "", location.pathname);
  }
  return localStorage.getItem(KEPT) ?? "";
}

/** The agent did not answer: what it did, if anything, stands in the list of sales. */
export class Unreachable extends Error {}

/** The key is missing or another's. */
export class Locked extends Error {}

async function call(path, body) {
  let response;
  try {
    response = await fetch(path, {
      method: "POST",
      headers: { authorization: `Bearer ${key()}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    if (response.status !== 401) return await response.json();
  } catch {
    throw new Unreachable();
  }
  throw new Locked();
}

/** One word of an open terminal: {ok, code, look, message, ...}. */
export const act = (word, rest = "") => call("/act", { word, rest });

/** How the till stands; days are the shop's. */
export const till = () => call("/till", { east_s: -60 * new Date().getTimezoneOffset() });
