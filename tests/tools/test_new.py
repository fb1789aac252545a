"""caffe-spn new: files that the other commands take, and what to do next."""

from caffe_spn.proto import caffe_pb2, text
from caffe_spn.tools.main import main


def test_it_writes_four_files_and_says_what_is_next(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "nuclei", "--source", "set", "--classes", "2", "--iterations", "50"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "wrote nuclei/train.prototxt",
        "wrote nuclei/test.prototxt",
        "wrote nuclei/deploy.prototxt",
        "wrote nuclei/solver.prototxt",
        "next:  caffe-spn train --solver nuclei/solver.prototxt",
    ]
    solver = text.read(tmp_path / "nuclei/solver.prototxt", caffe_pb2.SolverParameter)
    assert solver.max_iter == 50
    train = text.read(tmp_path / "nuclei/train.prototxt", caffe_pb2.NetParameter)
    assert train.name == "nuclei"
    assert train.layer[0].segmentation_patch_param.source == str(tmp_path / "set")


def test_voc_starts_from_vgg(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["new", "dogs", "-network", "voc", "--source", "set", "--classes", "21"]) == 0
    assert "--weights VGG_ILSVRC_16_layers.caffemodel" in capsys.readouterr().out


def test_an_existing_folder_is_kept(tmp_path, capsys):
    words = ["new", str(tmp_path), "--source", "set", "--classes", "2"]
    assert main(words) == 0
    before = (tmp_path / "train.prototxt").read_text()
    assert main([*words[:-1], "3"]) == 1
    assert "has a solver.prototxt already" in capsys.readouterr().err
    assert (tmp_path / "train.prototxt").read_text() == before
    assert main([*words[:-1], "3", "--force"]) == 0
    assert (tmp_path / "train.prototxt").read_text() != before


def test_a_set_that_is_not_there(tmp_path, capsys):
    assert main(["new", str(tmp_path / "net"), "--source", str(tmp_path / "absent")]) == 1
    assert str(tmp_path / "absent") in capsys.readouterr().err
    assert not (tmp_path / "net").exists()
