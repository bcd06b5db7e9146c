# SPDX-License-Identifier: Apache-2.0
"""Examples in the documents do what they say, and the documents say what there is."""

import doctest
import json
import re
from pathlib import Path

import pytest
import yaml

from avkit.datasets import DATASETS
from avkit.datasets.manifest_schema import json_schema
from avkit.extraction.recipe import list_recipes

DOCS = Path(__file__).parents[1] / "docs"


def test_the_published_schema_is_the_one_that_lines_are_held_to():
    assert json.loads((DOCS / "manifest.schema.json").read_text()) == json_schema()


def test_every_dataset_and_recipe_is_described():
    described = (DOCS / "datasets.md").read_text()
    assert [name for name in DATASETS if f"`{name}`" not in described] == []
    described = (DOCS / "features.md").read_text()
    assert [name for name in list_recipes() if f"`{name}`" not in described] == []


@pytest.mark.parametrize("name", ["metrics.md"])
def test_examples(name):
    found = doctest.testfile(str(DOCS / name), module_relative=False)
    assert found.attempted > 0
    assert found.failed == 0


#: Fields of KubeRay's `ray.io/v1` types, and those of pods that the page uses.
KUBERAY = {
    "spec": {"entrypoint", "shutdownAfterJobFinishes", "ttlSecondsAfterFinished", "rayClusterSpec", "submissionMode"},
    "rayClusterSpec": {"headGroupSpec", "workerGroupSpecs", "rayVersion", "enableInTreeAutoscaling"},
    "headGroupSpec": {"serviceType", "rayStartParams", "template"},
    "workerGroupSpecs": {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"},
    "pod": {"containers", "volumes", "restartPolicy"},
    "container": {"name", "image", "resources", "volumeMounts", "env"},
}


def test_the_manifest_for_kubernetes_has_fields_that_there_are():
    text = (Path(__file__).parents[1] / "docs" / "scale.md").read_text()
    (block,) = re.findall(r"^```\n(apiVersion: ray.io.*?)^```", text, re.DOTALL | re.MULTILINE)
    manifest = yaml.safe_load(block)
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", "RayJob")
    assert set(manifest["spec"]) <= KUBERAY["spec"]
    cluster = manifest["spec"]["rayClusterSpec"]
    assert set(cluster) <= KUBERAY["rayClusterSpec"]
    groups = {"headGroupSpec": [cluster["headGroupSpec"]], "workerGroupSpecs": cluster["workerGroupSpecs"]}
    for kind, members in groups.items():
        for group in members:
            assert {"rayStartParams", "template"} <= set(group) <= KUBERAY[kind]
            assert all(isinstance(value, str) for value in group["rayStartParams"].values()), "a map of texts"
            pod = group["template"]["spec"]
            assert set(pod) <= KUBERAY["pod"]
            assert all(set(container) <= KUBERAY["container"] for container in pod["containers"])
            mounts = [mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]]
            assert mounts == [volume["name"] for volume in pod["volumes"]]
