#!/bin/sh
echo '{"url": "file:///pulls/1"}'
