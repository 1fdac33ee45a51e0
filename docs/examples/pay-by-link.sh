#!/usr/bin/env bash
# A shop shows a link, any UPI app pays it, and the payment's story is told. Run it beside `make run`.
set -euo pipefail
cd "$(dirname "$0")/../.."

ADDRESS=${HUNDI_ADDRESS:-http://127.0.0.1:8480}
UPI=${HUNDI_UPI_URL:-http://127.0.0.1:8481}
RUN="$(date +%s)-$$"

# One value of a JSON answer, by its path: ... | pick next_action.url
pick() {
  .venv/bin/python -c '
import json, sys
text = sys.stdin.read()
try:
    found = json.loads(text)
    for step in sys.argv[1].split("."):
        found = found[step]
except (ValueError, LookupError, TypeError):
    sys.exit(f"pay-by-link: no {sys.argv[1]} in the answer: {text.strip()}")
print(found)' "$1"
}

# One request as the shop: ask PATH [KEY BODY]
ask() {
  if [ $# -gt 1 ]; then
    curl --silent --show-error --max-time 30 "$ADDRESS$1" --header "Authorization: Bearer $SHOP" \
      --header "Idempotency-Key: $2" --header "Content-Type: application/json" --data "$3"
  else
    curl --silent --show-error --max-time 30 "$ADDRESS$1" --header "Authorization: Bearer $SHOP"
  fi
}

SHOP=$(.venv/bin/hundi session issue --party "Chai Point" --role merchant)
CHAI_POINT=$(.venv/bin/python -c 'import json, sys; print(json.load(open(sys.argv[1]))["Chai Point"])' \
  "${HUNDI_HOME:-.hundi}/demo.json")

PAYMENT=$(ask /intents "link-$RUN" "{\"payee_id\": \"$CHAI_POINT\", \"amount\": \"4500\"}" | pick id)
LINK=$(ask "/intents/$PAYMENT/confirm" "show-$RUN" '{"method": "upi_link"}' | pick next_action.url)
echo "to be shown as a QR code: $LINK"

echo "somebody's app scans it …"
curl --silent --show-error --max-time 30 "$UPI/upi/admin/scan" --header "Content-Type: application/json" \
  --data "$(.venv/bin/python -c 'import json, sys
print(json.dumps({"link": sys.argv[1], "payer_vpa": "ravi@okbank"}))' "$LINK")" > /dev/null

for _ in $(seq 60); do
  STATE=$(ask "/intents/$PAYMENT" | pick state)
  if [ "$STATE" = succeeded ]; then break; fi
  sleep 0.5
done
echo "the payment has $STATE: INR 45.00"
.venv/bin/hundi payments trace "$PAYMENT"
[ "$STATE" = succeeded ]
