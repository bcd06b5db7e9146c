# SPDX-License-Identifier: Apache-2.0
"""Parts of the spatial systems: what they choose, what they leave out, what padding and company may not change."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import signal

from avkit.batch import Batch, Item, Vocabulary
from avkit.collate import collate
from avkit.encoders import build_visual_encoder
from avkit.encoders.base import TextFeatures
from avkit.encoders.resnet import ResNet18
from avkit.encoders.vggish import VGGishAudio
from avkit.errors import DataError
from avkit.media.mel import vggish_examples
from avkit.media.spectrogram import crop_around_steps, log_power_spectrogram
from avkit.nn.deformable_attention import cell_places, gather, sample
from avkit.nn.query_attention import KeySteps
from avkit.systems import find_network
from avkit.systems.avsegformer.network import AVSegFormerConfig
from avkit.systems.avst.network import AVST, WORDS, AVSTConfig, strangers, words_of
from avkit.systems.pstp.network import PSTP, RegionSelection, SegmentSelection
from avkit.systems.questions import Texts
from avkit.systems.sources import cut_and_mirror
from avkit.systems.tpavi.attention import TPAVI as Interaction
from avkit.systems.tpavi.network import TPAVIConfig
from avkit.systems.tspm.declarative import TEMPLATES, Declarations
from avkit.systems.tspm.network import TSPM, TSPMConfig

SMALL = {"audio": 6, "visual": 8, "patches": 10, "text": 12, "answers": 5, "width": 16, "inner": 16, "topk": 3}


def tspm(**options):
    torch.manual_seed(0)
    return TSPM(**{**SMALL, "dropout": 0.0, **options})


def clips(count=2, steps=7, parts=4):
    torch.manual_seed(1)
    return torch.randn(count, steps, 6), torch.randn(count, steps, 8), torch.randn(count, steps, parts, 10)


def asked(count=2):
    torch.manual_seed(2)
    return torch.randn(count, 12), torch.randn(count, 12)


# ------------------------------------------------------------------------------------------------ TSPM


def test_chosen_steps_are_the_likeliest_in_time():
    part = KeySteps(16)
    query, tokens = torch.randn(3, 16), torch.randn(3, 9, 16)
    weights, chosen = part.eval()(query, tokens, 4)
    assert torch.equal(chosen, weights.topk(4).indices.sort().values)
    wanted = part.attention(query[:, None], tokens, tokens)[1][:, 0]
    torch.testing.assert_close(weights, wanted, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(("select", "read"), [("first", [0, 1, 2]), ("index", None)])
def test_only_the_pictures_that_are_selected_matter(select, read):
    network, given, text = tspm(patch_select=select).eval(), clips(), asked()
    out = network(*given, *text)
    read = set(read or out.chosen[0].tolist())
    for step in range(7):
        other = given[2].clone()
        other[0, step] += 1
        same = torch.equal(network(*given[:2], other, *text).logits[0], out.logits[0])
        assert same == (step not in read), step


def test_the_choice_learns_where_it_is_asked_to():
    for grad in ("none", "straight_through"):
        network = tspm(select_grad=grad)
        network(*clips(), *asked()).logits.square().sum().backward()
        learnt = network.prompt_in.weight.grad is not None and bool(network.prompt_in.weight.grad.abs().sum() > 0)
        assert learnt == (grad == "straight_through")
        assert bool(network.untrained()) == (grad == "none")


def test_straight_through_changes_no_output():
    given, text = clips(), asked()
    one, other = (tspm(select_grad=grad).eval()(*given, *text).logits for grad in ("none", "straight_through"))
    assert torch.equal(one, other)


@pytest.mark.parametrize("options", [{}, {"patch_select": "index"}, {"temporal": False}, {"spatial": False}])
def test_questions_share_clips_and_padding_counts_for_nothing(options):
    network, given, text = tspm(**options).eval(), clips(), asked(3)
    clip = torch.tensor([0, 0, 1])
    out = network(*given, *text, clip)
    for i, k in enumerate(clip.tolist()):
        alone = network(*(x[k : k + 1] for x in given), *(x[i : i + 1] for x in text))
        torch.testing.assert_close(out.logits[i : i + 1], alone.logits)
    padded = [F.pad(x, (*[0, 0] * (x.ndim - 2), 0, 2), value=9.0) for x in given]
    valid = torch.arange(9)[None].expand(2, -1) < 7
    torch.testing.assert_close(network(*padded, *text, clip, valid).logits, out.logits, atol=1e-5, rtol=1e-4)


def test_every_switch_leaves_out_what_it_says():
    given, text = clips(), asked()
    network = tspm(temporal=False, spatial=False, meeting=False, grounding=False)
    network(*given, *text).logits.sum().backward()
    never = {name.split(".")[0] for name, p in network.named_parameters() if p.grad is None}
    assert never == {"prompt_in", "patch_in", "meeting", "select", "tokens", "look", "ask"}


def test_too_few_seconds_are_refused_with_what_to_pass():
    with pytest.raises(ValueError, match=r"3 steps are to be chosen, and a clip has 2. Set topk to 2"):
        tspm()(*clips(steps=2), *asked())
    with pytest.raises(ValueError, match="topk is 0"):
        tspm(topk=0)
    with pytest.raises(ValueError, match="Unknown patch_select 'frist'"):
        tspm(patch_select="frist")
    with pytest.raises(ValueError, match=r"Unknown system\.prompt 'declarativ'"):
        TSPMConfig(prompt="declarativ")


class Reads(torch.nn.Module):
    """Reads sentences as their lengths, and counts how often it is asked."""

    width = 2

    def __init__(self, frozen):
        super().__init__()
        self.weight, self.calls = torch.nn.Parameter(torch.ones(2), requires_grad=not frozen), 0

    def forward(self, texts):
        self.calls += len(texts)
        lengths = torch.tensor([len(t.split()) for t in texts])
        valid = torch.arange(int(lengths.max()))[None] < lengths[:, None]
        return TextFeatures(valid[..., None] * self.weight, valid, lengths[:, None] * self.weight)


@pytest.mark.parametrize("frozen", [False, True])
def test_equal_sentences_are_read_once(frozen):
    reads = Reads(frozen)
    texts = Texts(reads)
    found = [texts.encode(["a b", "c", "a b"]) for _ in range(2)]
    assert reads.calls == (2 if frozen else 4)
    for read in found:
        assert read.pooled.tolist() == [[2, 2], [1, 1], [2, 2]]
        assert read.valid.tolist() == [[True, True], [True, False], [True, True]]


# ------------------------------------------------------------------------------------------------ statements


def test_all_templates_have_statements_and_slots_are_filled_in_order():
    declare = Declarations()
    assert len(TEMPLATES) == 33
    assert declare("Is the cello louder than the flute?") == "The cello and the flute are not equally loud."
    assert declare("is the cello on the left louder than the flute on the right") == (
        "The cello on the left and the flute on the right are not equally loud."
    )
    for template in TEMPLATES:
        parts = iter(["cello", "left", "flute", "right"])
        question = " ".join(next(parts) if word.startswith("<") else word for word in template.split())
        assert declare.find(question) is not None, template
        assert "<" not in declare(question)
        assert "{" not in declare(question)


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("Is there a dog in the garden?", "There is a dog in the garden."),
        ("How many things make a sound?", "There are things that make a sound."),
        ("How many dogs are there?", "There are dogs."),
        ("Which thing sounds first?", "One thing sounds first."),
        ("What happened in the video?", "Something happened in the video."),
        ("Where is the drum hidden?", "The drum is hidden."),
        ("Does the dog bark", "The dog bark."),
        ("Is the left thing louder than the right one?", "The left thing and the right one are not equally loud."),
        ("Was the dog asleep at noon?", "The dog was asleep at noon."),
        ("Bark!", "Bark!."),
        ("", ""),
    ],
)
def test_other_questions_follow_rules(question, said):
    assert Declarations()(question) == said


def test_statements_come_from_a_table_too(tmp_path):
    table = tmp_path / "prompts.csv"
    table.write_text("question_template,declarative_prompt\nWhere is the <LL> thing?,The <LL> thing is {seen}.\n")
    declare = Declarations.load(table)
    assert declare("Where is the loudest thing?") == "The loudest thing is {seen}."
    table.write_text("question_template\nWhere?\n")
    with pytest.raises(DataError, match="columns question_template and declarative_prompt"):
        Declarations.load(table)
    with pytest.raises(DataError, match="has none to fill them"):
        Declarations({"Where?": "At <Place>."})
    with pytest.raises(DataError, match="cannot be read as CSV"):
        Declarations.load(tmp_path / "none.csv")
    odd = Declarations({"Where?": "In {a} set}.", "Is it <A>?": "{0.__class__}, {0}, {7}"})
    assert odd("Where?") == "In {a} set}."
    assert odd("Is it blue?") == "{0.__class__}, blue, blue"


# ------------------------------------------------------------------------------------------------ AVST


def test_words_are_looked_up_as_written_then_in_any_case():
    network = AVST(audio=6, visual=8, width=8, answers=3)
    assert len(WORDS) == 92
    ids = network.question.ids(["How many instruments are sounding in the video?", "which CELLO is louder"])
    assert ids.shape == (2, 14)
    assert ids[0, :7].tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert ids[1].tolist()[4:] == [0] * 10
    assert [WORDS[i - 1] for i in ids[1, :4].tolist()] == ["Which", "cello", "is", "louder"]
    with pytest.raises(DataError, match=r"does not know the word 'celllo'.*Similar: cello"):
        network.question.ids(["Is the celllo louder?"])
    assert words_of("Is it\uff1f ") == ["Is", "it"]


def test_width_is_that_of_the_pictures():
    with pytest.raises(ValueError, match="pictures are 8 wide and width is 16"):
        AVST(visual=8, width=16)
    own = AVSTConfig().network(8, 6, Vocabulary(answers=["a"], words=["zebra"])).question
    assert own.index == {"zebra": 1}
    assert own.ids(["Zebra and lion"])[0, :3].tolist() == [1, 0, 0]
    assert AVSTConfig().network(8, 6, Vocabulary(answers=["a"], words=["is", "guitar"])).question.index["How"] == 1


def test_strangers_are_of_other_clips():
    visual = torch.arange(12.0).view(3, 4, 1)
    valid = torch.ones(3, 4, dtype=torch.bool)
    valid[2, 2:] = False
    for _ in range(20):
        other = strangers(visual, valid, ["a", "b", "b"])
        assert bool((other[0] >= 4).all())
        assert bool((other[1:] < 4).all())
        assert not set(other.flatten().tolist()) & {10.0, 11.0}
    assert strangers(visual, valid, ["a", "a", "a"]) is None


def test_avst_ignores_padding_and_company():
    torch.manual_seed(0)
    network = AVST(audio=6, visual=8, width=8, answers=3, dropout=0.0).eval()
    audio, visual, ids = torch.randn(2, 5, 6), torch.randn(2, 5, 4, 8), torch.randint(92, (3, 14))
    clip = torch.tensor([0, 1, 1])
    out = network(audio, visual, ids, clip=clip)
    alone = network(audio[1:], visual[1:], ids[2:])
    torch.testing.assert_close(out.logits[2:], alone.logits)
    valid = torch.arange(7)[None].expand(2, -1) < 5
    padded = F.pad(audio, (0, 0, 0, 2), value=3.0), F.pad(visual, (0, 0, 0, 0, 0, 2), value=3.0)
    torch.testing.assert_close(network(*padded, ids, clip=clip, valid=valid).logits, out.logits, atol=1e-5, rtol=1e-4)


# ------------------------------------------------------------------------------------------------ PSTP-Net


def test_pstp_selects_where_the_paper_says_so():
    torch.manual_seed(0)
    options = {"audio": 6, "visual": 8, "text": 12, "answers": 5, "width": 16, "inner": 16, "dropout": 0.0}
    given = torch.randn(2, 6, 6), torch.randn(2, 6, 8), torch.randn(3, 4, 12), torch.randn(3, 12)
    regions, clip = torch.randn(2, 6, 9, 8), torch.tensor([0, 1, 1])
    network = PSTP(**options, fusion="paper", segments=3, topk=2, topm=4)
    out = network(*given, regions, clip=clip)
    assert out.chosen.shape == (3, 4)
    assert bool((out.chosen[:, 1::2] == out.chosen[:, 0::2] + 1).all())
    assert out.mixed.shape[1] == 2 * 6 + 4 + (4 + 4 + 4 * 4 + 4 + 6 + 6)
    out.logits.sum().backward()
    assert network.listen.first.weight.grad is not None
    plain = PSTP(**options)
    plain.load_state_dict(network.state_dict())
    assert plain(*given, clip=clip).weights is None
    assert {p.split(".")[0] for p in plain.untrained()} >= {"segments", "regions"}
    with pytest.raises(ValueError, match="only vectors of pictures are given"):
        network(*given, clip=clip)


def test_what_cannot_be_chosen_is_refused():
    with pytest.raises(ValueError, match="7 seconds do not make 3 equal segments"):
        SegmentSelection(8, 3, 1)(torch.randn(1, 8), torch.randn(1, 7, 8), torch.randn(1, 7, 8))
    with pytest.raises(ValueError, match="5 regions are to be chosen, and a picture has 4"):
        RegionSelection(8, 5)(torch.randn(1, 8), torch.randn(1, 2, 4, 8))


# ------------------------------------------------------------------------------------------------ masks


def test_interaction_equals_the_matrix_of_all_pixels():
    torch.manual_seed(0)
    part = Interaction(8, 6)
    torch.nn.init.normal_(part.scale.weight)
    part.scale.running_mean.normal_()
    maps, sound = torch.randn(2, 3, 8, 4, 5), torch.randn(2, 3, 6)
    for mode in (True, False):
        part.train(mode)
        before = {k: v.clone() for k, v in part.state_dict().items()}
        found, _ = part(maps, sound)
        part.load_state_dict(before)
        x = maps.permute(0, 1, 3, 4, 2).flatten(1, 3)
        every = part.audio(sound)[:, :, None].expand(-1, -1, 20, -1).flatten(1, 2)
        matrix = part.query(x) @ part.key(every).mT / x.shape[1]
        y = part.scale(part.out(matrix @ part.value(x)).flatten(0, 1)).view_as(x)
        wanted = part.norm(y + x).unflatten(1, (3, 4, 5)).permute(0, 1, 4, 2, 3)
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)


def test_both_ways_to_look_at_places_agree_with_gradients():
    torch.manual_seed(0)
    sizes = [(5, 3), (2, 4)]
    places = cell_places(sizes)
    values = torch.randn(2, 23, 2, 4, dtype=torch.float64)
    offsets = 3 * torch.randn(2, 23, 2, 2, 3, 2, dtype=torch.float64)
    weights = torch.rand(2, 23, 2, 2, 3, dtype=torch.float64)
    found = []
    for look in (sample, gather):
        given = [x.clone().requires_grad_() for x in (values, offsets, weights)]
        out = look(*given, places.double(), sizes)
        out.square().sum().backward()
        found.append([out, *(x.grad for x in given)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_steps_that_are_not_there_change_no_mask():
    torch.manual_seed(0)
    network = TPAVIConfig(width=16, scale=2).network(Vocabulary(), 6).eval()
    for part in network.meet:
        torch.nn.init.normal_(part.scale.weight)
    maps = [torch.randn(2, 5, c, s, s) for c, s in ((16, 8), (32, 4), (64, 2))]
    sound, valid = torch.randn(2, 5, 6), torch.tensor([[True] * 3 + [False] * 2, [True] * 5])
    with torch.inference_mode():
        both = network(maps, sound, valid).logits
        alone = network([x[:1, :3] for x in maps], sound[:1, :3]).logits
        whole = network([x[1:] for x in maps], sound[1:]).logits
    torch.testing.assert_close(both[:1, :3], alone, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(both[1:], whole, atol=1e-5, rtol=1e-4)


def test_pictures_that_are_too_small_are_refused():
    torch.manual_seed(0)
    system = TPAVIConfig(width=16).build(Vocabulary()).eval()
    frames = torch.randint(256, (1, 3, 3, 32, 32), dtype=torch.uint8)
    valid = torch.ones(1, 3, dtype=torch.bool)
    clip = Batch("avs", ["a"], torch.tensor([3.0]), 1.0, valid, frames, torch.randn(1, 48_000))
    assert system(clip, []).logits.shape[:3] == (1, 3, 1)
    with pytest.raises(ValueError, match="16 by 16 pixels; tpavi needs 32"):
        system(replace(clip, frames=frames[..., :16, :16]), [])


@pytest.mark.parametrize("config", [TPAVIConfig, AVSegFormerConfig])
def test_recomputing_is_of_all_blocks_and_changes_nothing(config):
    pytest.importorskip("timm")
    small = {} if config is TPAVIConfig else {"layers": 1, "sound_layers": 1}
    clip = Batch(
        "avs",
        ["a"],
        torch.tensor([2.0]),
        1.0,
        torch.ones(1, 2, dtype=torch.bool),
        torch.randint(256, (1, 2, 3, 64, 64), dtype=torch.uint8),
        torch.randn(1, 32_000),
    )
    found, kept = [], []
    for recompute in (False, True):
        torch.manual_seed(0)
        system = config(visual="pvt_v2_b0", width=32, recompute=recompute, **small).build(Vocabulary()).train()
        bytes_of = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x, to=bytes_of: to.append(x.nbytes) or x, lambda x: x):
            logits = system(clip, []).logits
        logits.square().sum().backward()
        found.append([logits, *(p.grad for p in system.parameters() if p.grad is not None)])
        kept.append(sum(bytes_of))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
    assert kept[1] < kept[0] / 2


def test_a_trunk_is_frozen_for_its_epochs():
    system = AVSegFormerConfig(frozen_epochs=2, width=16, layers=1, sound_layers=1).build(Vocabulary())
    for epoch, learns in ((0, False), (1, False), (2, True)):
        system.begin_epoch(epoch)
        assert {p.requires_grad for p in system.network.visual.parameters()} == {learns}


def test_classes_are_asked_for_where_there_are_some():
    with pytest.raises(ValueError, match="the dataset names none"):
        AVSegFormerConfig(semantic=True).tasks(["avs"], Vocabulary())
    task = AVSegFormerConfig(semantic=True).tasks(["avs"], Vocabulary(["dog", "cat"]))["avs"]
    assert task.classes == 3
    with pytest.raises(ValueError, match="stored features"):
        AVSegFormerConfig().build(Vocabulary(), {"avs": [8, 0]})
    with pytest.raises(ValueError, match=r"has none\. Try pvt_v2_b5"):
        AVSegFormerConfig(visual="small_embedding").build(Vocabulary())


# ------------------------------------------------------------------------------------------------ sound, pictures


def test_spectrogram_is_scipys():
    wave = torch.randn(48_000, generator=torch.Generator().manual_seed(0)).mul(0.1) + 0.05
    _, _, power = signal.spectrogram(wave.numpy(), 16_000, nperseg=512, noverlap=274)
    wanted = torch.from_numpy(np.log(power + 1e-7) / 12)
    assert wanted.shape == (257, 200)
    torch.testing.assert_close(log_power_spectrogram(wave).double(), wanted.double(), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="512 samples"):
        log_power_spectrogram(wave[:100])


def test_sound_around_a_step_stays_inside():
    wave = torch.arange(5 * 16_000.0)[None]
    found = crop_around_steps(wave, 5, 1.0, 3.0)
    assert found.shape == (1, 5, 48_000)
    assert (found[0, :, 0] / 16_000).tolist() == [0, 0, 1, 2, 2]
    short = crop_around_steps(wave[:, :10], 1, 1.0, 0.001)
    assert short[0, 0].tolist() == [*range(10), *range(6)]


def test_vggish_runs_on_in_examples_of_its_own():
    encoder = VGGishAudio(running=True).eval()
    wave = torch.randn(1, 5 * 16_000) * 0.1
    with torch.no_grad():
        wanted = encoder.network(vggish_examples(wave[0]))
        found = encoder(wave, 7, 1.0)
    assert len(wanted) == 5
    torch.testing.assert_close(found[0], torch.cat([wanted, wanted[-1:].expand(2, -1)]))
    assert encoder(torch.zeros(1, 100), 2, 1.0).shape == (1, 2, 128)


def test_pictures_are_cut_and_mirrored():
    frames = torch.arange(36, dtype=torch.uint8).view(1, 1, 6, 6).expand(8, 3, -1, -1)
    torch.manual_seed(0)
    found = cut_and_mirror(frames, 4)
    assert found.shape == (8, 3, 4, 4)
    steps = (found[:, 0, 0, 1].int() - found[:, 0, 0, 0].int()).tolist()
    assert set(steps) == {1, -1}
    assert bool((found[:, 0, 1].int() - found[:, 0, 0].int() == 6).all())
    assert cut_and_mirror(frames, 9).shape == frames.shape


def test_trunks_have_the_stride_that_is_asked_for():
    pytest.importorskip("timm")
    assert ResNet18(1, 16)(torch.zeros(1, 1, 64, 64)).shape == (1, 512, 4, 4)
    with pytest.raises(ValueError, match="16 or 32"):
        ResNet18(3, 8)
    encoder = build_visual_encoder("avkit.encoders.resnet:ResNet18Visual")
    assert encoder(torch.zeros(1, 3, 50, 50, dtype=torch.uint8)).grid == (14, 14)


def test_tokens_merge_down_to_what_can_be_reached():
    pytest.importorskip("timm")
    from avkit.encoders.merging import MergingViT

    with pytest.raises(ValueError, match=r"cannot merge down to 2 tokens: \d+ are left after 12 blocks"):
        MergingViT("vit_tiny_patch16_224", tokens=2, rate=4)
    encoder = MergingViT("vit_tiny_patch16_224", tokens=150, rate=4)
    assert encoder(torch.zeros(1, 3, 224, 224)).patches.shape[1] == 150


@pytest.mark.parametrize("name", ["tspm", "avst", "pstp", "ez_vsl", "lvs"])
def test_converted_weights_go_there_and_back(name, tmp_path):
    if name not in ("tspm", "pstp"):
        pytest.importorskip("timm")
    small = {
        "tspm": SMALL,
        "avst": {"audio": 6, "visual": 8, "width": 8},
        "pstp": {"audio": 6, "visual": 8, "text": 4, "width": 16},
        "ez_vsl": {"width": 16},
    }
    network = find_network(name)(**small.get(name, {}))
    state = network.to_official()
    options = {"topk": 3} if name == "tspm" else {}
    again = find_network(name).from_official({f"module.{k}": v for k, v in state.items()}, **options)
    again.save(tmp_path / "x.safetensors")
    loaded = find_network(name).load(tmp_path / "x.safetensors")
    assert loaded.made_with == network.made_with
    for key, x in loaded.to_official().items():
        assert torch.equal(x, state[key]), key


def test_a_batch_without_questions_is_refused():
    item = Item("a", 3.0, frames=torch.zeros(3, 3, 32, 32, dtype=torch.uint8), waveform=torch.zeros(48_000))
    system = TSPMConfig(width=16, topk=2).build(Vocabulary(answers=["a"], words=["b"]))
    with pytest.raises(ValueError, match="clips a bring none"):
        system(collate([item], "avqa"), [])
