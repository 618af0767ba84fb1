import pytest
import torch
from PIL import Image

from research.shortcuts.chexpert import CheXpert

HEAD = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Cardiomegaly,Edema,Fracture"
ROWS = (
    ("patient00001/study1/view1_frontal.jpg", "Frontal", "", "1.0", "-1.0", "0.0"),
    ("patient00001/study1/view2_lateral.jpg", "Lateral", "", "1.0", "-1.0", "0.0"),
    ("patient00002/study1/view1_frontal.jpg", "Frontal", "1.0", "", "0.0", ""),
    ("patient00003/study1/view1_frontal.jpg", "Frontal", "", "-1.0", "1.0", "1.0"),
)
FINDINGS = ("Edema", "Cardiomegaly")


@pytest.fixture
def root(tmp_path):
    lines = [HEAD]
    for i, (name, view, *labels) in enumerate(ROWS):
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 50), 60 * i).save(path, quality=100)
        lines.append(f"CheXpert-v1.0-small/train/{name},Female,60,{view},AP,{','.join(labels)}")
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("uncertain", "value"), [("unknown", torch.nan), ("negative", 0.0), ("positive", 1.0)]
)
def test_labels_are_those_of_the_csv(root, uncertain, value):
    data = CheXpert(root, "train", FINDINGS, uncertain=uncertain)
    assert data.classes == FINDINGS
    expected = torch.tensor([[value, 1], [0, 0], [1, value]])
    torch.testing.assert_close(data.labels, expected, equal_nan=True)


def test_images_are_those_of_the_rows(root):
    data = CheXpert(root, "train", FINDINGS, view="all", size=32)
    assert len(data) == 4
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for i in range(4):
        image, labels = data[i]
        assert image.shape == (3, 32, 32)
        torch.testing.assert_close(
            image[:, 16, 16] * std + mean, torch.full((3,), 60 * i / 255), atol=0.01, rtol=0
        )
        torch.testing.assert_close(labels, data.labels[i], equal_nan=True)
    (lateral,) = CheXpert(root, "train", FINDINGS, view="Lateral", size=32).images
    assert lateral.name == "view2_lateral.jpg"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "val"}, r"split: got 'val'; give one of 'train', 'valid'"),
        ({"findings": ["Edma"]}, r"findings: got 'Edma'; give one of .*'Edema'"),
        (
            {"findings": ["Age"]},
            r"findings: .*view1_frontal.jpg has '60' for 'Age'; give a column of 0, 1, -1",
        ),
        ({"uncertain": "maybe"}, r"uncertain: got 'maybe'; give one of 'unknown', 'negative', 'positive'"),
        ({"view": "frontal"}, r"view: got 'frontal'; give one of 'Frontal', 'Lateral', 'all'"),
        ({"split": "valid"}, r"root: no .*valid.csv'; give the folder with train.csv"),
    ],
)
def test_what_is_wrong_is_said(root, arguments, message):
    with pytest.raises(ValueError, match=message):
        CheXpert(**{"root": root, "split": "train", "findings": FINDINGS, **arguments})


def test_a_missing_image_is_named(root):
    (root / "train" / ROWS[2][0]).unlink()
    with pytest.raises(ValueError, match=r"root: no .*patient00002.*give the folder with train.csv"):
        CheXpert(root, "train", FINDINGS)
