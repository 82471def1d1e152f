#!/bin/sh
# Makes the secrets that docker-compose.yml mounts, in a folder that is given.
# What is there already is kept: run again, it changes nothing.
set -eu
command -v openssl >/dev/null || { echo "deploy/secrets.sh: openssl is needed" >&2; exit 1; }
dir=${1:?usage: deploy/secrets.sh FOLDER}
umask 077
mkdir -p "$dir"

# Compose mounts each file as it is, into containers of other users: so the
# files can be read by all, and the folder by its owner alone.
put() {
  [ -e "$dir/$1" ] && return
  cat >"$dir/$1.new"
  chmod 444 "$dir/$1.new"
  mv "$dir/$1.new" "$dir/$1"
}
password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }
key() { printf 'k1:'; head -c 32 /dev/urandom | base64; }

password | put mysql-password
password | put mysql-root-password
password | put redis-password
password | put rabbitmq-password
printf 'mysql://nowserving:%s@mysql:3306/nowserving\n' "$(cat "$dir/mysql-password")" | put database-url
printf 'redis://:%s@redis:6379\n' "$(cat "$dir/redis-password")" | put redis-url
printf 'amqp://nowserving:%s@rabbitmq:5672/\n' "$(cat "$dir/rabbitmq-password")" | put amqp-url
# The two servers that take their password in a file of their own form.
printf 'requirepass %s\n' "$(cat "$dir/redis-password")" | put redis.conf
printf 'default_user = nowserving\ndefault_pass = %s\n' "$(cat "$dir/rabbitmq-password")" | put rabbitmq.conf
key | put token-keys
key | put data-keys

# The nodes' own authority, and the certificate that they show each other. Whoever
# has one of that authority is a node. To renew it, delete cluster-cert and
# cluster-key, run this again, and restart the nodes one after the other.
new=$dir/.cluster
mkdir -p "$new"
trap 'rm -rf "$new"' EXIT
quiet() { "$@" 2>"$new/said" || { cat "$new/said" >&2; exit 1; }; }
curve='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes'
if [ ! -e "$dir/cluster-ca" ]; then
  # shellcheck disable=SC2086 # several words
  quiet openssl req -x509 $curve -sha256 -days 3650 -subj '/CN=nowserving nodes' -keyout "$new/ca-key" -out "$new/ca"
  rm -f "$dir/cluster-ca-key" "$dir/cluster-cert" "$dir/cluster-key"
  put cluster-ca-key <"$new/ca-key"
  chmod 400 "$dir/cluster-ca-key" # which no container gets
  put cluster-ca <"$new/ca"
fi
if [ ! -e "$dir/cluster-cert" ] || [ ! -e "$dir/cluster-key" ]; then
  printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n' >"$new/extensions"
  # shellcheck disable=SC2086 # several words
  quiet openssl req $curve -subj '/CN=nowserving node' -keyout "$new/key" -out "$new/request"
  quiet openssl x509 -req -sha256 -days 3650 -in "$new/request" -CA "$dir/cluster-ca" -CAkey "$dir/cluster-ca-key" \
    -set_serial "0x$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')" -extfile "$new/extensions" -out "$new/cert"
  rm -f "$dir/cluster-cert" "$dir/cluster-key"
  put cluster-key <"$new/key"
  put cluster-cert <"$new/cert"
fi
