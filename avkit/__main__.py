# SPDX-License-Identifier: Apache-2.0
"""`python -m avkit`."""

import sys

from avkit.cli import main
from avkit.outside import hide_current_folder

hide_current_folder()
sys.exit(main())
