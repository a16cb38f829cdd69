#!/usr/bin/env bash
# Gathers what a package consists of in target/package: the program that is named, and what is made from it and from conf/.
set -euo pipefail
cd "$(dirname "$0")/.."

program=${1:?usage: packaging/stage.sh PROGRAM}
stage=target/package

rm -rf $stage
mkdir -p $stage
install -m 755 "$program" $stage/menshen
# A distribution carries no symbols; the names of functions go with the rest.
strip $stage/menshen
$stage/menshen generate $stage

# The file that comes with Menshen, with what belongs to the state and not to the configuration elsewhere.
sed -e 's|^keys_dir = "keys"$|keys_dir = "/var/lib/menshen/keys"|' \
  -e 's|^path = "data"$|path = "/var/lib/menshen/data"|' \
  -e 's|^# upgrade_socket = "/run/menshen/upgrade.sock"$|upgrade_socket = "/var/lib/menshen/upgrade.sock"|' \
  conf/menshen.toml > $stage/menshen.toml
for line in 'keys_dir = "/var/lib/menshen/keys"' 'path = "/var/lib/menshen/data"' 'upgrade_socket = "/var/lib/menshen/upgrade.sock"'; do
  grep -qxF "$line" $stage/menshen.toml || { echo "stage: conf/menshen.toml has no place for $line" >&2 && exit 1; }
done
