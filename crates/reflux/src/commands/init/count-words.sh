#!/bin/sh
# stdin: {"text": "…"}    stdout: {"words": 3}
text=$(sed 's/^.*"text":"//; s/"[^"]*$//')
words=$(printf '%s' "$text" | wc -w | tr -d ' ')
echo "counted $words words" >&2   # what goes to stderr is kept with the attempt
printf '{"words": %s}\n' "$words"
