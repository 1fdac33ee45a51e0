#!/usr/bin/env bash
# The first payment: a shop asks, Asha pays once from her wallet and once from her bank over UPI,
# and both are read back. Run it beside `make run`. Each run makes new payments.
set -euo pipefail
cd "$(dirname "$0")/../.."

ADDRESS=${HUNDI_ADDRESS:-http://127.0.0.1:8480}
HOME_OF_HUNDI=${HUNDI_HOME:-.hundi}
RUN="$(date +%s)-$$"

fail() { echo "first-payment: $*" >&2; exit 1; }

# One GraphQL request as whoever holds the token: graphql TOKEN QUERY VARIABLES
graphql() {
  .venv/bin/python -c 'import json, sys; print(json.dumps(
    {"query": sys.argv[1], "variables": json.loads(sys.argv[2])}))' "$2" "$3" |
    curl --silent --show-error --max-time 30 "$ADDRESS/graphql" \
      --header "Authorization: Bearer $1" --header "Content-Type: application/json" --data @-
}

# One value of a JSON answer, by its path: ... | pick data.payment.state
pick() {
  .venv/bin/python -c '
import json, sys
answer = found = json.load(sys.stdin)
for step in sys.argv[1].split("."):
    found = found.get(step) if isinstance(found, dict) else None
if found is None:
    sys.exit(f"first-payment: no {sys.argv[1]} in the answer: {json.dumps(answer)}")
print(found)' "$1"
}

CREATE='mutation($i: CreatePaymentInput!) { createPayment(input: $i)
  { payment { id state } userErrors { code message } } }'
CONFIRM='mutation($i: ConfirmPaymentInput!) { confirmPayment(input: $i)
  { payment { id state } userErrors { code message } } }'
READ='query($id: ID!) { payment(id: $id)
  { state description amount { minor currency } payee { name } payer { name }
    attempts { method state railReference } } }'

# The shop asks for INR 150.00: create KEY DESCRIPTION
create() {
  graphql "$SHOP" "$CREATE" "{\"i\": {\"idempotencyKey\": \"$1\", \"payeeId\": \"$CHAI_POINT\",
    \"amount\": \"15000\", \"description\": \"$2\"}}" | pick data.createPayment.payment.id
}

# Asha pays: confirm KEY PAYMENT METHOD [VPA]
confirm() {
  local vpa=null
  if [ $# -gt 3 ]; then vpa="\"$4\""; fi
  graphql "$ASHA" "$CONFIRM" "{\"i\": {\"idempotencyKey\": \"$1\", \"id\": \"$2\",
    \"method\": \"$3\", \"payerVpa\": $vpa}}" | pick data.confirmPayment.payment.state
}

curl --silent --fail --output /dev/null --max-time 5 "$ADDRESS/health/ready" ||
  fail "nothing answers at $ADDRESS: start it with \`make run\`"
[ -f "$HOME_OF_HUNDI/demo.json" ] || fail "$HOME_OF_HUNDI/demo.json is missing: it is made by \`make run\`"

CHAI_POINT=$(pick "Chai Point" < "$HOME_OF_HUNDI/demo.json")
SHOP=$(.venv/bin/hundi session issue --party "Chai Point" --role merchant)
ASHA=$(.venv/bin/hundi session issue --party Asha --role payer --aal 2)
echo "Chai Point and Asha are signed in at $ADDRESS"

PAYMENT=$(create "sale-$RUN-book" "two teas")
echo "Chai Point asks for INR 150.00: $PAYMENT"
STATE=$(confirm "pay-$RUN-book" "$PAYMENT" BOOK)
[ "$STATE" = SUCCEEDED ] || fail "the wallet payment is $STATE"
echo "Asha pays from her wallet (BOOK): $STATE"
STATE=$(confirm "pay-$RUN-book" "$PAYMENT" BOOK)
[ "$STATE" = SUCCEEDED ] || fail "the repeat says $STATE"
echo "The same request with the same key: $STATE, and nothing moved twice"

BANK_PAYMENT=$(create "sale-$RUN-upi" "lunch")
echo "Chai Point asks for INR 150.00: $BANK_PAYMENT"
STATE=$(confirm "pay-$RUN-upi" "$BANK_PAYMENT" UPI asha@okbank)
[ "$STATE" = SUCCEEDED ] || fail "the bank payment is $STATE"
echo "Asha pays from her bank (UPI): $STATE"

for one in "$PAYMENT" "$BANK_PAYMENT"; do
  graphql "$ASHA" "$READ" "{\"id\": \"$one\"}" | .venv/bin/python -c '
import json, sys
answer = json.load(sys.stdin)
paid = (answer.get("data") or {}).get("payment")
if not paid or paid["state"] != "SUCCEEDED" or len(paid["attempts"]) != 1:
    sys.exit(f"first-payment: the payment does not read back as paid once: {json.dumps(answer)}")
amount, [tried] = paid["amount"], paid["attempts"]
reference = tried["railReference"]
print("Read back: {} {:,.2f} from {} to {} for {} by {}: {}{}".format(
    amount["currency"], int(amount["minor"]) / 100, paid["payer"]["name"], paid["payee"]["name"],
    paid["description"], tried["method"], paid["state"],
    f", bank reference {reference}" if reference else ""))'
done

graphql "$ASHA" '{ viewer { balances { account available { minor currency } } } }' '{}' |
  .venv/bin/python -c '
import json, sys
for one in json.load(sys.stdin)["data"]["viewer"]["balances"]:
    money = one["available"]
    print("Asha, {}: {} {:,.2f}".format(one["account"], money["currency"], int(money["minor"]) / 100))'
