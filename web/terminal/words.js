// What the shop is told: one word that cannot be mistaken, why, and what to do.

const AGENT_PREFIX = /^(NOT PAID|NOT THIS SALE|CANCELLED [^:]*):\s*/;

export function wordOf(answer, look) {
  if (look === "PAID") return answer.code === "edge.paid_by_phone" ? "PAID by phone" : "PAID";
  if (look === "PAID_BEFORE") return answer.twice ? "PAID TWICE" : "PAID BEFORE";
  if (answer.code === "edge.voided") return answer.reason === "returned" ? "TAKEN BACK" : "CANCELLED";
  return "NOT PAID";
}

/** Why, as a sentence that begins with a capital letter. */
export function reason(answer) {
  if (answer.code === "edge.request_over") return "The time for this request is over.";
  if (answer.paid_at) return `This code paid an earlier sale, on ${momentOf(answer.paid_at)}.`;
  const said = (answer.message ?? "").replace(AGENT_PREFIX, "");
  return said.charAt(0).toUpperCase() + said.slice(1);
}

export function nextStep(answer, look) {
  if (look === "PAID") return "Hand over the goods.";
  if (look === "PAID_BEFORE") {
    return answer.twice ? "Hand over the goods, and refund the payment by phone." : "This sale is not paid by it: ask for a new payment.";
  }
  if (answer.code === "edge.voided") return "The customer scans the code below and keeps it.";
  if (answer.voidable) return "Hand over nothing. The customer may be given a cancellation, or try again.";
  return "Hand over nothing.";
}

/** A length of time that has passed, as a person says it. */
export function ago(seconds) {
  if (seconds < 60) return "just now";
  const [size, unit] = seconds < 3600 ? [60, "minute"] : seconds < 86_400 ? [3600, "hour"] : [86_400, "day"];
  const count = Math.floor(seconds / size);
  return `${count} ${unit}${count === 1 ? "" : "s"} ago`;
}

/** Seconds as minutes and seconds. */
export function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** An ISO moment as the shop reads it. */
export function momentOf(iso) {
  return new Date(iso).toLocaleString("en-IN", { dateStyle: "medium", timeStyle: "short" });
}
