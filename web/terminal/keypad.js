// What a keypad makes of one more key. Pure.

const WHOLE_MAX = 7;

/** The typed amount after `key`: a digit, a point, or ⌫; `places` digits may follow the point. */
export function addKey(typed, key, places) {
  if (key === "⌫") return typed.slice(0, -1);
  const [whole, fraction] = typed.split(".");
  if (key === ".") return places === 0 || fraction !== undefined ? typed : `${whole || "0"}.`;
  if (fraction !== undefined) return fraction.length < places ? typed + key : typed;
  if (typed === "0") return key;
  return whole.length < WHOLE_MAX ? typed + key : typed;
}
