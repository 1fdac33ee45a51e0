#!/usr/bin/env bash
# Brings the programs that the tests drive and pip cannot bring: Debian's Chromium, SoftHSM, swtpm and tpm2-tools.
# Ends well in any case: only the tests need them, and those say so.
set -euo pipefail

missing=()
command -v chromium > /dev/null || missing+=(chromium)
command -v softhsm2-util > /dev/null || missing+=(softhsm2)
command -v swtpm > /dev/null || missing+=(swtpm)
command -v tpm2_nvextend > /dev/null || missing+=(tpm2-tools)
if [ "${#missing[@]}" -eq 0 ]; then
  exit 0
fi
if ! command -v apt-get > /dev/null; then
  echo "hundi: the tests need ${missing[*]}: install them by your system's packages"
elif [ "$(id -u)" -ne 0 ]; then
  echo "hundi: the tests need ${missing[*]}: sudo apt-get install -y --no-install-recommends ${missing[*]}"
else
  echo "hundi: installing ${missing[*]}, once"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } > /dev/null ||
    echo "hundi: apt-get could not install ${missing[*]}: the tests that drive them will fail"
fi
