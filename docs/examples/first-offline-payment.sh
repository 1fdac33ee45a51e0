#!/usr/bin/env bash
# The first offline payment: a terminal of Kirana Corner, a device of Asha's, and QR pictures between
# them. Between "ask" and "sync" no program here opens a connection. Run it beside `make run`.
set -euo pipefail
cd "$(dirname "$0")/../.."

ADDRESS=${HUNDI_ADDRESS:-http://127.0.0.1:8480}
HOME_OF_HUNDI=${HUNDI_HOME:-.hundi}
COUNTER="$HOME_OF_HUNDI/kirana-counter"
PHONE="$HOME_OF_HUNDI/asha-phone"

fail() { echo "first-offline-payment: $*" >&2; exit 1; }

# One `hundi-edge` command; its JSON answer, or the end of this script: edge WORDS...
edge() {
  local said
  said=$(.venv/bin/hundi-edge "$@" --json) || fail "hundi-edge $1 $2: $said"
  echo "$said"
}

# One member of a JSON answer, or nothing: ... | pick message
pick() {
  .venv/bin/python -c 'import json, sys; print(json.load(sys.stdin).get(sys.argv[1], ""))' "$1"
}

curl --silent --fail --output /dev/null --max-time 5 "$ADDRESS/health/ready" ||
  fail "nothing answers at $ADDRESS: start it with \`make run\`"

# Online, once: who is who.
if [ ! -f "$COUNTER/terminal/agent.db" ]; then
  PAIRING=$(.venv/bin/hundi terminal pair --merchant "Kirana Corner")
  edge terminal enrol "$PAIRING" --server "$ADDRESS" --home "$COUNTER" | pick message
fi
HUNDI_SESSION=$(.venv/bin/hundi session issue --party Asha --role payer --aal 2)
export HUNDI_SESSION
if [ ! -f "$PHONE/payer/agent.db" ]; then
  edge payer enrol --server "$ADDRESS" --label "Asha's phone" --home "$PHONE" | pick message
fi

# Online: money set aside, so that it can be spent with no network.
HELD=$(edge payer status --home "$PHONE")
LEFT=$(pick left <<< "$HELD")
if [ "${LEFT:-0}" -lt 15000 ]; then
  if [ "$(pick state <<< "$HELD")" = active ]; then
    edge payer surrender --home "$PHONE" | pick message
  fi
  edge payer allowance --total 1000 --each 500 --home "$PHONE" | pick message
fi
edge terminal sync --home "$COUNTER" > /dev/null

# Offline: three programs and two pictures.
edge terminal ask 150 --home "$COUNTER" --png "$HOME_OF_HUNDI/request.png" | pick message
edge payer pay "$HOME_OF_HUNDI/request.png" --yes --home "$PHONE" --png "$HOME_OF_HUNDI/voucher.png" |
  pick message
SAID=$(edge terminal accept "$HOME_OF_HUNDI/voucher.png" --home "$COUNTER")
[ "$(pick code <<< "$SAID")" = OV_ACCEPTED ] || fail "the terminal says: $SAID"
echo "At the counter: $(pick message <<< "$SAID")"

# Online again: settled once; a second sync settles nothing.
SAID=$(edge terminal sync --home "$COUNTER")
[ "$(pick settled_count <<< "$SAID")" = 1 ] || fail "the sync says: $SAID"
pick message <<< "$SAID"
SAID=$(edge terminal sync --home "$COUNTER")
[ "$(pick settled_count <<< "$SAID")" = 0 ] || fail "the second sync says: $SAID"
echo "A second sync settles nothing more."
edge payer status --home "$PHONE" | pick message
