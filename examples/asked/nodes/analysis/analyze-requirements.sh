#!/bin/sh
echo '{"complexity": "medium", "estimatedTime": 8}'
