#!/usr/bin/env bash
# The first offline payment: a terminal of Kirana Corner, a device of Asha's, and QR pictures between
# them. From "ask" to "accept" no program here opens a connection. Run it beside `make run`.
set -euo pipefail
cd "$(dirname "$0")/../.."

ADDRESS=${HUNDI_ADDRESS:-http://127.0.0.1:8480}
FOLDER=${HUNDI_HOME:-.hundi}
COUNTER="$FOLDER/kirana-counter"
PHONE="$FOLDER/asha-phone"
REQUEST="$FOLDER/request.png"
VOUCHER="$FOLDER/voucher.png"

fail() { echo "first-offline-payment: $*" >&2; exit 1; }

# One `hundi-edge` command; its JSON answer, or the end of this script: edge WORDS...
edge() {
  local said
  said=$(.venv/bin/hundi-edge "$@" --json) || fail "hundi-edge $1 $2: $said"
  echo "$said"
}

# One member of a JSON answer, or nothing: pick MEMBER ANSWER
pick() {
  .venv/bin/python -c 'import json, sys; print(json.loads(sys.argv[2]).get(sys.argv[1], ""))' "$1" "$2"
}

# The same, and its line on the screen: tell WHO WORDS...
tell() {
  local who=$1 said
  shift
  said=$(edge "$@")
  echo "$who: $(pick message "$said")"
}

curl --silent --fail --output /dev/null --max-time 5 "$ADDRESS/health/ready" ||
  fail "nothing answers at $ADDRESS: start it with \`make run\`"

# Online, once: who is who.
.venv/bin/hundi-edge terminal status --home "$COUNTER" > /dev/null 2>&1 || [ $? -eq 1 ] || {
  PAIRING=$(.venv/bin/hundi terminal pair --merchant "Kirana Corner")
  tell "online, terminal" terminal enrol "$PAIRING" --server "$ADDRESS" --home "$COUNTER"
}
HUNDI_SESSION=$(.venv/bin/hundi session issue --party Asha --role payer --aal 2)
export HUNDI_SESSION
if ! .venv/bin/hundi-edge payer status --home "$PHONE" > /dev/null 2>&1; then
  tell "online, device" payer enrol --server "$ADDRESS" --label "Asha's phone" --home "$PHONE"
fi

# Online: money set aside, so that it can be spent with no network.
HELD=$(edge payer status --home "$PHONE")
LEFT=$(pick left "$HELD")
if [ "${LEFT:-0}" -lt 15000 ]; then
  if [ "$(pick state "$HELD")" = active ]; then
    tell "online, device" payer surrender --home "$PHONE"
  fi
  tell "online, device" payer allowance --total 1000 --each 500 --home "$PHONE"
fi
tell "online, terminal" terminal sync --home "$COUNTER"

# Offline: three programs and two pictures.
tell "offline, terminal" terminal ask 150 --home "$COUNTER" --png "$REQUEST"
tell "offline, device" payer pay "$REQUEST" --yes --home "$PHONE" --png "$VOUCHER"
SAID=$(edge terminal accept "$VOUCHER" --home "$COUNTER")
[ "$(pick code "$SAID")" = OV_ACCEPTED ] || fail "the terminal says: $SAID"
echo "offline, terminal: $(pick message "$SAID")"

# Online again: settled once; a second sync settles nothing.
for expected in 1 0; do
  SAID=$(edge terminal sync --home "$COUNTER")
  [ "$(pick settled_count "$SAID")" = "$expected" ] || fail "the sync says: $SAID"
  echo "online, terminal: $(pick message "$SAID")"
done
tell "device" payer status --home "$PHONE"
