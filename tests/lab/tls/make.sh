#!/bin/sh
# Makes the certificates of the TLS tests anew: an authority, a server that it vouches for, the same server under another
# name, one whose time is over, and another authority. None of them protects anything.
set -eu
cd "$(dirname "$0")"
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }
sign() { # name, extensions, first day, last day, more options; the request is there
  printf '%b' "$2" > extensions
  name=$1 first=$3 last=$4
  shift 4
  openssl ca -batch -config ca.cnf -extfile extensions -startdate "$first" -enddate "$last" -notext -in request \
    -out "$name.pem" "$@"
}
authority() {
  key "$1.key"
  openssl req -new -key "$1.key" -subj "/CN=tailrace test $1" -out request
  sign "$1" 'basicConstraints=critical,CA:true\nkeyUsage=critical,keyCertSign\n' 20200101000000Z 21200101000000Z \
    -selfsign -keyfile "$1.key"
}
server() { # name, subject alternative name, last day
  openssl req -new -key server.key -subj "/CN=$1" -out request
  sign "$1" "subjectAltName=$2\nbasicConstraints=CA:false\nextendedKeyUsage=serverAuth\n" 20200101000000Z "$3" \
    -cert authority.pem -keyfile authority.key
}
: > index
echo 01 > serial
cat > ca.cnf <<END
[ca]
default_ca = it
[it]
database = index
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
unique_subject = no
[any]
commonName = supplied
END
authority authority
authority stranger
key server.key
server server 'IP:127.0.0.1,DNS:localhost' 21200101000000Z
server elsewhere 'DNS:db.example' 21200101000000Z
server expired 'IP:127.0.0.1,DNS:localhost' 20210101000000Z
rm -f request extensions ca.cnf authority.key stranger.key index* serial* ??.pem
