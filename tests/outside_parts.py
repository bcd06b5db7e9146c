# SPDX-License-Identifier: Apache-2.0
"""Parts that another package could bring; tests name them as `outside_parts:Class`."""

from avkit.tasks.avs import Segmentation


class OwnSegmentation(Segmentation):
    """Segmentation under a name of its own."""

    name = "own_segmentation"
    benchmark = None
