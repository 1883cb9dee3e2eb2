#!/bin/sh
# broken on purpose: the tests find it
rm -f work/fixed && mkdir -p work
echo '{"codeChanges": ["src/model", "src/endpoint"]}'
