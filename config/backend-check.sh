#!/bin/sh
# Says what a server lacks as a backend of tidegate, and the commands that mend it: backend-check.sh MODE [VIP...] [options]
# of backend-setup.sh. Exit status 0 ready, 1 not. Changes nothing.
exec "$(dirname "$0")/backend-setup.sh" --check "$@"
