#!/bin/sh
# the suite passes once somebody has fixed it
if [ -e work/fixed ]; then
    echo '{"passed": true, "coverage": 91.5}'
else
    echo "1 of 12 tests failed" >&2
    echo '{"passed": false, "coverage": 80}'
fi
