#!/bin/sh
mkdir -p work && touch work/fixed
echo '{"fixed": true}'
