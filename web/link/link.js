// Turns a one-time code into a session: typed here, or behind the # of the link, which no server and no log ever sees.

const at = (id) => document.getElementById(id);

async function open(code) {
  let said = "The server cannot be reached now. The code stays good: try again.";
  try {
    const answer = await fetch("/session/link", {
      method: "POST", credentials: "same-origin", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ code }),
    });
    if (answer.ok) return location.replace("../payer/");
    said = (await answer.json()).detail;
  } catch { /* said above */ }
  at("said").textContent = said;
  at("said").hidden = false;
}

at("form").addEventListener("submit", (event) => {
  event.preventDefault();
  open(at("code").value.trim());
});

const given = decodeURIComponent(location.hash.slice(1));
if (given) {
  history.replaceState(null, "", location.pathname); // not for the next one who looks at this browser
  at("code").value = given;
  open(given);
}
