#!/usr/bin/env bash
# Copies the one library that the payer's app takes from others into web/vendor/, from npm, held by package-lock.json.
set -euo pipefail
cd "$(dirname "$0")"

if ! command -v npm > /dev/null; then
  echo "hundi: the payer's app draws and reads QR codes by a library from npm: install Node.js, then make again"
  exit 0
fi
if ! npm ci --silent; then
  echo "hundi: npm could not fetch what the payer's app takes from others: make again when there is a network"
  exit 0
fi
rm -rf vendor.new vendor
mkdir -p vendor.new/qr
cp node_modules/qr/{index.js,decode.js,LICENSE,LICENSE-MIT} vendor.new/qr/
rm -rf node_modules
mv vendor.new vendor
touch vendor/ready
