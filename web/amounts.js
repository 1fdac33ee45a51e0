// Amounts and moments as people in India write them.

const format = (ccy) => new Intl.NumberFormat("en-IN", { style: "currency", currency: ccy });
const placesOf = (ccy) => format(ccy).resolvedOptions().maximumFractionDigits;

/** Minor units as a decimal number: 12345 of INR is 123.45. */
export function decimal(amount, ccy) {
  const places = placesOf(ccy);
  const digits = String(amount).padStart(places + 1, "0");
  const whole = digits.slice(0, digits.length - places);
  return places ? `${whole}.${digits.slice(-places)}` : whole;
}

/** Minor units as money: 12345 of INR is ₹123.45. */
export function money(amount, ccy) {
  return format(ccy).format(decimal(amount, ccy));
}

/** What somebody typed as minor units, or null. */
export function minor(typed, ccy) {
  const form = /^(\d{1,9})(?:\.(\d+))?$/.exec(typed.trim());
  const fraction = form?.[2] ?? "";
  if (!form || fraction.length > placesOf(ccy)) return null;
  return Number(form[1] + fraction.padEnd(placesOf(ccy), "0"));
}

export function moment(seconds) {
  return new Date(seconds * 1000).toLocaleString("en-IN", { dateStyle: "medium", timeStyle: "short" });
}
