#!/bin/sh
# Makes the secrets that docker-compose.yml mounts, in a folder that is given.
# What is there already is kept: run again, it changes nothing.
set -eu
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
