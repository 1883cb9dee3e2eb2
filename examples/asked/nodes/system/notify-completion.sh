#!/bin/sh
cat > notified.json
echo '{"notified": true}'
