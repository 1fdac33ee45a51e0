#!/usr/bin/env bash
# The first payment: a shop asks, Asha pays once from her wallet and once from her bank over UPI,
# and both are read back. Run it beside `make run`. Each run makes new payments.
set -euo pipefail
cd "$(dirname "$0")/../.."

ADDRESS=${HUNDI_ADDRESS:-http://127.0.0.1:8480}
FOLDER=${HUNDI_HOME:-.hundi}
RUN="$(date +%s)-$$"

fail() { echo "first-payment: $*" >&2; exit 1; }

# One request as whoever holds the token: graphql TOKEN DOCUMENT VARIABLES
graphql() {
  .venv/bin/python -c 'import json, sys; print(json.dumps(
    {"query": open(sys.argv[1]).read(), "variables": json.loads(sys.argv[2])}))' \
    "bff/documents/$2.graphql" "$3" |
    curl --silent --show-error --max-time 30 "$ADDRESS/graphql" \
      --header "Authorization: Bearer $1" --header "Content-Type: application/json" --data @-
}

# One value of a JSON answer, by its path: ... | pick data.payment.state
pick() {
  .venv/bin/python -c '
import json, sys
text = sys.stdin.read()
try:
    found = json.loads(text)
    for step in sys.argv[1].split("."):
        found = found[step]
except (ValueError, LookupError, TypeError):
    found = None
if found is None:
    sys.exit(f"first-payment: no {sys.argv[1]} in the answer: {text.strip()}")
print(found)' "$1"
}

# The shop asks for INR 150.00; the new payment's id: create KEY DESCRIPTION
create() {
  graphql "$SHOP" create_payment "{\"input\": {\"idempotencyKey\": \"$1\", \"payeeId\": \"$CHAI_POINT\",
    \"amount\": \"15000\", \"description\": \"$2\"}}" | pick data.createPayment.payment.id
}

# Asha pays; the state that the payment is in: confirm KEY PAYMENT METHOD [VPA]
confirm() {
  local vpa=null
  if [ $# -gt 3 ]; then vpa="\"$4\""; fi
  graphql "$ASHA" confirm_payment "{\"input\": {\"idempotencyKey\": \"$1\", \"id\": \"$2\",
    \"method\": \"$3\", \"payerVpa\": $vpa}}" | pick data.confirmPayment.payment.state
}

# What the server says of a payment afterwards: read_back PAYMENT METHOD
read_back() {
  local said
  said=$(graphql "$ASHA" payment "{\"id\": \"$1\"}")
  .venv/bin/python -c '
import json, sys
answer = json.loads(sys.argv[1])
paid = (answer.get("data") or {}).get("payment") or {}
tries = [(one["method"], one["state"]) for one in paid.get("attempts", [])]
if paid.get("state") != "SUCCEEDED" or tries != [(sys.argv[2], "SUCCEEDED")]:
    sys.exit(f"first-payment: it does not read back as paid once: {sys.argv[1]}")
rupees = int(paid["amount"]["minor"]) / 100
who, whom, reference = paid["payer"]["name"], paid["payee"]["name"], paid["attempts"][0]["railReference"]
of_bank = f", bank reference {reference}" if reference else ""
what = paid["description"]
print(f"Read back: INR {rupees:,.2f} from {who} to {whom} for {what}: paid once, by {sys.argv[2]}{of_bank}")
' "$said" "$2"
}

curl --silent --fail --output /dev/null --max-time 5 "$ADDRESS/health/ready" ||
  fail "nothing answers at $ADDRESS: start it with \`make run\`"
[ -f "$FOLDER/demo.json" ] || fail "there is no $FOLDER/demo.json: \`make run\` makes it"

CHAI_POINT=$(pick "Chai Point" < "$FOLDER/demo.json")
SHOP=$(.venv/bin/hundi session issue --party "Chai Point" --role merchant)
ASHA=$(.venv/bin/hundi session issue --party Asha --role payer --aal 2)
echo "Chai Point and Asha are signed in at $ADDRESS"

FIRST=$(create "sale-$RUN-book" "two teas")
echo "Chai Point asks for INR 150.00: $FIRST"
STATE=$(confirm "pay-$RUN-book" "$FIRST" BOOK)
[ "$STATE" = SUCCEEDED ] || fail "the wallet payment is $STATE"
echo "Asha pays from her wallet (BOOK): $STATE"
STATE=$(confirm "pay-$RUN-book" "$FIRST" BOOK)
[ "$STATE" = SUCCEEDED ] || fail "the repeat says $STATE"
echo "The same request with the same key: $STATE, and nothing moved twice"

SECOND=$(create "sale-$RUN-upi" "lunch")
echo "Chai Point asks for INR 150.00: $SECOND"
STATE=$(confirm "pay-$RUN-upi" "$SECOND" UPI asha@okbank)
[ "$STATE" = SUCCEEDED ] || fail "the bank payment is $STATE"
echo "Asha pays from her bank account (UPI): $STATE"

read_back "$FIRST" BOOK
read_back "$SECOND" UPI
