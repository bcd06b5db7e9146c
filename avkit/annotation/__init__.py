# SPDX-License-Identifier: Apache-2.0
"""Labelling clips in a browser: masks, sounding spans and sentences per object, with proposals by models.

`folder` lists clips, `store` keeps every edit in SQLite, `server` shows the page, `worker` runs helpers that propose,
and `export` writes what readers of avkit and other tools take.
"""
