"""Sources of settings, their precedence, and the messages for wrong values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from vidpipe.errors import SettingsError
from vidpipe.settings import LoadedSettings, load
from vidpipe.settings.keys import all_keys, secret_values


def refused(home: Path, **arguments: object) -> str:
    with pytest.raises(SettingsError) as failed:
        load(home, **{"environ": {}, **arguments})  # type: ignore[arg-type]
    return str(failed.value)


def entry_value(loaded: LoadedSettings, key: str) -> tuple[str, str]:
    return next((entry.value, entry.source) for entry in loaded.entries() if entry.key.name == key)


def test_a_stronger_place_wins_and_the_source_of_each_value_is_known(home: Path) -> None:
    (home / "config.ini").write_text(
        "[SceneDetection]\nDetector = content\nMinSceneLength = 1\nMaxThumbnails = 11\nFramesPerScene = 5\n"
    )
    (home / "config.local.ini").write_text("[SceneDetection]\nMinSceneLength = 2\nMaxThumbnails = 12\n")
    loaded = load(
        home,
        {"VIDPIPE_SCENEDETECTION_MINSCENELENGTH": "3", "VIDPIPE_SCENEDETECTION_FRAMESPERSCENE": "6"},
        overrides={
            "scene_detection.min_scene_length": 4.0,
            "SceneDetection.FramesPerVideo": "50",
            "qwen_vl.use_vpc": None,
        },
    )
    detection = loaded.settings.scene_detection
    assert (detection.detector, detection.min_scene_length, detection.max_thumbnails) == ("content", 4.0, 12)
    assert (detection.frames_per_scene, detection.frames_per_video) == (6, 50)
    assert entry_value(loaded, "Detector") == ("content", "config.ini")
    assert entry_value(loaded, "MaxThumbnails") == ("12", "config.local.ini")
    assert entry_value(loaded, "FramesPerScene") == ("6", "environment VIDPIPE_SCENEDETECTION_FRAMESPERSCENE")
    assert entry_value(loaded, "MinSceneLength") == ("4", "command line")
    assert entry_value(loaded, "UseVpc") == ("no", "default")


def test_sections_keys_and_choices_are_compared_without_regard_to_case(home: Path) -> None:
    (home / "config.ini").write_text("[scenedetection]\ndetector = HASH\n[QWENVL]\nusevpc = On\n")
    settings = load(home, {}).settings
    assert settings.scene_detection.detector == "hash"
    assert settings.qwen_vl.use_vpc is True


def test_an_empty_value_means_the_default_wherever_it_stands(home: Path) -> None:
    (home / "config.ini").write_text("[Concurrency]\nMaxWorkers =\n[Download]\nUserAgent = mine\n")
    loaded = load(home, {"VIDPIPE_DOWNLOAD_USERAGENT": ""})
    assert loaded.settings.concurrency.workers == os.cpu_count()
    assert loaded.settings.download.user_agent == "vidpipe"
    assert entry_value(loaded, "UserAgent") == ("vidpipe", "default")


def test_percent_signs_byte_order_marks_and_lists_are_read_as_written(home: Path) -> None:
    (home / "config.ini").write_text(
        "\ufeff[QwenVL]\nDefaultInstruction = 100 % sure:\n  say $HOME\n"
        "[Download]\nAllowedPrivate = 10.0.0.0/8, nas.lan\n",
        encoding="utf-8",
    )
    settings = load(home, {}).settings
    assert settings.qwen_vl.default_instruction == "100 % sure:\nsay $HOME"
    assert settings.download.allowed_private == ("10.0.0.0/8", "nas.lan")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[SceneDetecton]\n", ["[SceneDetecton]", "valid sections are [Paths]", "Did you mean SceneDetection?"]),
        ("[DEFAULT]\nDetector = hash\n", ["unknown section [DEFAULT]"]),
        ("[SceneDetection]\nThreshhold = 1\n", ["unknown key [SceneDetection] Threshhold", "DefaultThreshold"]),
        ("[Paths]\nDetector = hash\n", ["[Paths] Detector", "belongs in [SceneDetection]"]),
        ("[SceneDetection]\nDetector = adaptiv\n", ["Detector = adaptiv", "one of adaptive,", "mean adaptive?"]),
        ("[SceneDetection]\nMinSceneLength = 0,6\n", ["MinSceneLength = 0,6", "a number from 0 to 3600", "0.6"]),
        ("[SceneDetection]\nMinSceneLength = 0.6s\n", ["MinSceneLength = 0.6s", "without its unit"]),
        ("[SceneDetection]\nMinSceneLength = nan\n", ["MinSceneLength = nan", "a number from 0 to 3600"]),
        ("[Concurrency]\nMaxWorkers = 0\n", ["[Concurrency] MaxWorkers = 0", "a whole number from 1 to 1024"]),
        ("[Concurrency]\nMaxWorkers = 4 # four\n", ["MaxWorkers = 4 # four", "Comments must be on lines of their own"]),
        ("[QwenVL]\nUseVpc = maybe\n", ["UseVpc = maybe", "yes or no"]),
        ("[QwenVL]\nPublicEndpoint = models.lan\n", ["PublicEndpoint = models.lan", "http:// or https://"]),
        ("[MongoDB]\nURI = localhost:27017\n", ["URI = localhost:27017", "mongodb://"]),
        ("[MongoDB]\nDatabaseName = my videos\n", ["DatabaseName = my videos", "letters, digits"]),
        ("[Rules]\nSchedule = every day\n", ["Schedule = every day", "five fields"]),
        ("[Download]\nAllowedPrivate = 10.0.0.0/99\n", ["AllowedPrivate = 10.0.0.0/99"]),
        ("[Paths]\nDownloadDirectory = a\ndownloaddirectory = b\n", ["DownloadDirectory is set twice"]),
        ("[Paths]\nDownloadDirectory = a\nDownloadDirectory = b\n", ["line 3", "DownloadDirectory is set twice"]),
        ("[Paths]\n[paths]\n", ["[paths] and [Paths] are the same section"]),
        ("[Paths]\nDownloadDirectory = a\n  ProcessedDirectory = b\n", ["DownloadDirectory", "on an indented line"]),
        ("Detector = hash\n", ["line 1", "text before the first [Section]", "[SceneDetection]"]),
        ("[Paths]\njust words\n", ["line 2", "not of the form `Key = value`"]),
    ],
)  # fmt: skip
def test_what_is_wrong_in_the_file_is_named_with_what_is_allowed(home: Path, text: str, parts: list[str]) -> None:
    (home / "config.ini").write_text(text)
    message = refused(home)
    for part in [str(home / "config.ini"), *parts]:
        assert part in message


def test_all_problems_are_reported_at_once(home: Path) -> None:
    (home / "config.ini").write_text(
        "[SceneDetection]\nDetector = x\nFramesPerScene = 0\n[Concurrency]\nMaxWorkers = -1\n"
    )
    message = refused(home, environ={"VIDPIPE_LOGGING_LEVEL": "loud"})
    for part in (
        "Detector = x",
        "FramesPerScene = 0",
        "MaxWorkers = -1",
        "environment variable VIDPIPE_LOGGING_LEVEL = loud",
    ):
        assert part in message


def test_a_threshold_is_checked_against_the_scale_of_its_detector(home: Path) -> None:
    (home / "config.ini").write_text("[SceneDetection]\nDetector = content\nDefaultThreshold = 27\n")
    assert load(home, {}).settings.scene_detection.threshold == 27
    message = refused(home, overrides={"SceneDetection.Detector": "ffmpeg"})
    assert "config.ini: [SceneDetection] DefaultThreshold and command line: [SceneDetection] Detector" in message
    assert "27 is not on the scale of Detector ffmpeg: above 0, at most 1" in message
    (home / "config.ini").write_text("[SceneDetection]\nDetector = content\nDefaultThreshold = 300\n")
    assert "[SceneDetection] DefaultThreshold and [SceneDetection] Detector: DefaultThreshold 300" in refused(home)


@pytest.mark.parametrize(
    ("config", "environ", "options", "detector"),
    [
        ("adaptive", {}, {"threshold": 27}, "content"),
        ("ADAPTIVE", {}, {"threshold": "27"}, "content"),
        ("", {}, {"threshold": 1}, "content"),
        ("ffmpeg", {}, {"threshold": 0.3}, "ffmpeg"),
        ("adaptive", {}, {"threshold": 0.3, "detector": "ffmpeg"}, "ffmpeg"),
        ("ffmpeg", {}, {"threshold": 3.5, "detector": "adaptive"}, "adaptive"),
        ("hash", {"VIDPIPE_SCENEDETECTION_DETECTOR": "adaptive"}, {"threshold": 3.5}, "adaptive"),
        ("adaptive", {"VIDPIPE_SCENEDETECTION_DEFAULTTHRESHOLD": "3.5"}, {}, "adaptive"),
    ],
)
def test_a_threshold_given_alone_selects_the_content_detector_unless_one_was_chosen(
    home: Path, config: str, environ: dict[str, str], options: dict[str, Any], detector: str
) -> None:
    (home / "config.ini").write_text(f"[SceneDetection]\nDetector = {config}\n")
    names = {"threshold": "scene_detection.default_threshold", "detector": "scene_detection.detector"}
    loaded = load(home, environ, overrides={names[name]: value for name, value in options.items()})
    assert loaded.settings.scene_detection.detector == detector


@pytest.mark.parametrize(
    ("detector", "threshold", "said"),
    [
        ("content", "0.3", "at least 1, at most 255 (leave it empty for 31); 0.3 is on ffmpeg's scene scale: set "
         "Detector = ffmpeg, or pass --scene-detector ffmpeg."),
        ("adaptive", "0.3", "--scene-detector ffmpeg"),
        ("content", "300", "at most 255 (leave it empty for 31)."),
        ("content", "0", "at least 1, at most 255 (leave it empty for 31)."),
        ("ffmpeg", "27", "above 0, at most 1 (leave it empty for 0.3); 27 is on PySceneDetect's content scale: set "
         "Detector = content"),
        ("hash", "27", "--scene-detector content"),
        ("histogram", "0", "above 0, at most 1"),
        ("threshold", "256", "above 0, at most 255"),
    ],
)  # fmt: skip
def test_a_threshold_beside_the_scale_is_rejected_with_the_scale_and_what_it_would_fit(
    home: Path, detector: str, threshold: str, said: str
) -> None:
    (home / "config.ini").write_text(f"[SceneDetection]\nDetector = {detector}\nDefaultThreshold = {threshold}\n")
    assert said in refused(home)
    (home / "config.ini").write_text("")
    variables = {"DETECTOR": detector, "DEFAULTTHRESHOLD": threshold}
    assert said in refused(home, environ={f"VIDPIPE_SCENEDETECTION_{name}": text for name, text in variables.items()})
    options = {"scene_detection.detector": detector, "scene_detection.default_threshold": float(threshold)}
    assert said in refused(home, overrides=options)


def test_a_typo_in_an_environment_variable_or_an_option_is_an_error(home: Path) -> None:
    assert "Did you mean VIDPIPE_MONGODB_URI?" in refused(home, environ={"VIDPIPE_MONGODB_URL": "x"})
    message = refused(home, environ={"VIDPIPE_SCENE_DETECTION_DEFAULT_THRESHOLD": "x"})
    assert "Did you mean VIDPIPE_SCENEDETECTION_DEFAULTTHRESHOLD?" in message
    assert "Did you mean SceneDetection.Detector?" in refused(home, overrides={"SceneDetection.Detecter": "x"})


def test_variables_that_are_no_settings_are_left_alone(home: Path) -> None:
    of_others = {
        "VIDPIPE_HOME": "/elsewhere", "VIDPIPE_TEST_CLIPS": "/clips", "VIDPIPE_SOURCE_PASSWORD": "x",
        "VIDPIPE_SERVICE_HOST": "10.1.1.1",
        "VIDPIPE_PORT": "tcp://10.1.1.1:80", "VIDPIPE_PORT_80_TCP_ADDR": "10.1.1.1",
        "VIDPIPE_WEB_SERVICE_PORT_HTTP": "80",
    }  # fmt: skip
    assert load(home, of_others).settings.home == home


@pytest.mark.parametrize(
    ("section", "key", "secret", "variable"),
    [
        ("QwenVL", "AccessKey", "sk-hunter2", "VIDPIPE_QWENVL_ACCESSKEY"),
        ("MongoDB", "URI", "mongodb://ann:hunter2@db.lan/", "VIDPIPE_MONGODB_URI"),
        ("MongoDB", "URI", "mongodb://db/?tlsCertificateKeyFilePassword=hunter2", "VIDPIPE_MONGODB_URI"),
    ],
)
def test_a_secret_is_refused_in_config_ini_and_masked_from_where_it_may_stand(
    home: Path, section: str, key: str, secret: str, variable: str
) -> None:
    text = f"[{section}]\n{key} = {secret}\n"
    (home / "config.ini").write_text(text)
    message = refused(home)
    assert f"[{section}] {key} contains a secret" in message
    assert "config.local.ini" in message
    assert variable in message
    assert "hunter2" not in message

    (home / "config.ini").write_text("")
    (home / "config.local.ini").write_text(text)
    for loaded in (load(home, {}), load(home, {variable: secret})):
        value, _ = entry_value(loaded, key)
        assert "***" in value
        assert "hunter2" not in value
        assert "hunter2" not in repr(loaded)


def test_a_wrong_value_with_a_password_in_it_is_reported_without_the_password(home: Path) -> None:
    message = refused(home, environ={"VIDPIPE_QWENVL_PUBLICENDPOINT": "https://m.example/?token=hunter2"})
    assert "use AccessKey" in message
    assert "hunter2" not in message
    for uri in ("mongo://ann:hunter2@db.lan/", "ann:hunter2@db.lan"):
        message = refused(home, environ={"VIDPIPE_MONGODB_URI": uri})
        assert "VIDPIPE_MONGODB_URI" in message
        assert "hunter2" not in message


def test_an_address_that_is_malformed_gives_its_secrets_all_the_same(home: Path) -> None:
    given = {"VIDPIPE_MONGODB_URI": "mongodb://a:hunter%32@[b/", "VIDPIPE_ALERTS_WEBHOOKURL": "http://[h/longenough123"}
    assert {"hunter2", "hunter%32", "longenough123"} <= secret_values(load(home, given).settings)
    assert not secret_values(load(home, {}).settings)


def test_a_secret_that_is_a_word_of_config_ini_stops_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIDPIPE_SOURCE_X", "describe_video")
    (home / "config.ini").write_text("[QwenVL]\nPrompts = describe_video\n")
    assert load(home, {}).settings.qwen_vl.prompts == ("describe_video",)


def test_another_config_file_can_be_named_and_its_folder_is_the_home_where_there_is_none(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast = tmp_path / "elsewhere" / "fast.ini"
    fast.parent.mkdir()
    fast.write_text("[SceneDetection]\nDetector = hash\n")
    monkeypatch.chdir(home)
    loaded = load(environ={}, config=fast)
    assert (loaded.settings.home, loaded.settings.scene_detection.detector) == (home, "hash")
    assert entry_value(loaded, "Detector") == ("hash", str(fast))
    monkeypatch.chdir(tmp_path)
    assert load(environ={}, config=fast).settings.home == fast.parent
    with pytest.raises(SettingsError, match=r"missing\.ini cannot be read"):
        load(environ={}, config=tmp_path / "missing.ini")


def test_every_key_has_a_description_and_a_name_of_its_own() -> None:
    assert all(key.description for key in all_keys())
    assert len({key.environment_name for key in all_keys()}) == len(all_keys())


def test_paths_are_below_the_home_unless_they_are_absolute(home: Path) -> None:
    settings = load(home, {"VIDPIPE_PATHS_PROCESSEDDIRECTORY": "~/derived"}).settings
    assert settings.media_directory == home / "data" / "media"
    assert settings.derived_directory == Path.home() / "derived"
    assert settings.relative(home / "data" / "media" / "x.mp4") == "data/media/x.mp4"


def test_allowed_hosts_are_names_and_addresses_alone(home: Path) -> None:
    (home / "config.ini").write_text("[Services]\nAllowedHosts = Videos.example.org, 10.0.0.7, fd00::7, xn--a.fr\n")
    assert len(load(home, {}).settings.services.allowed_hosts) == 4
    for wrong in ("http://a.test", "a.test:80", "de.fe:80", "a.test/x", "*", "*.a.test", "vidéo.fr", "[::1]"):
        (home / "config.ini").write_text(f"[Services]\nAllowedHosts = {wrong}\n")
        assert "is not a host name" in refused(home)
