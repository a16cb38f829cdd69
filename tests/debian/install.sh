#!/usr/bin/env bash
# Follows docs/en/install.md (or, given zh, docs/zh/install.md) word by word in a bare Debian: from source, then as a package. Needs root
# and `make test-deps`, and builds a release: minutes. With FAST=1 the release is built without optimisation, which is enough to see that
# the way leads there.
#
# The image is not built here, for want of an engine: tests/program/image.rs runs what it consists of.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/debian/bare.sh
. tests/debian/bare.sh

page=docs/${1:-en}/install.md

main() {
  in_namespace "$@"
  # Each way begins with nothing, so that neither uses what the other installed.
  bare
  block 2
  bare
  within "apt-get install -qq -y make"
  block 1
  within "menshen --version && systemctl is-enabled menshen && dpkg -s menshen | grep '^Depends:.*libc6'"
  echo "install: $page leads there" >&2
}

# Runs a block of shell of the page, by its number.
block() {
  local text
  text=$(block_of "$page" sh "$1")
  echo "install: $text" >&2
  within "$text"
}

main "$@"
