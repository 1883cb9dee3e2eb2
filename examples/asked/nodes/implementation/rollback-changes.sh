#!/bin/sh
rm -rf work
echo "{}"
