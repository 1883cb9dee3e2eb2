#!/bin/sh
echo '{"plan": {"steps": ["model", "endpoint", "form"]}}'
