# SPDX-License-Identifier: Apache-2.0
"""Training: module, data module, loader, sampler, balancing, schedule, callbacks, run folder, evaluator."""
