#!/bin/sh
# Makes the certificates of the laboratory's MariaDB servers anew: an authority and a server that it vouches for. MariaDB makes
# none by itself before 11.4. They protect nothing.
set -eu
cd "$(dirname "$0")"
key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1"; }
key authority.key
openssl req -x509 -new -key authority.key -subj "/CN=tailrace laboratory" -days 36500 -out authority.pem \
  -addext 'basicConstraints=critical,CA:true' -addext 'keyUsage=critical,keyCertSign'
key server.key
printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:false\nextendedKeyUsage=serverAuth\n' > extensions
openssl req -new -key server.key -subj "/CN=mariadb" -out request
openssl x509 -req -in request -CA authority.pem -CAkey authority.key -CAcreateserial -days 36500 -extfile extensions \
  -out server.pem
rm -f authority.key authority.srl request extensions
