# SPDX-License-Identifier: Apache-2.0
"""`python -m avkit`."""

import sys

from avkit.cli import main

sys.exit(main())
