"""Models of `transformers`, small and with random weights, on the CPU with the software sensor."""

import copy
import math
import os

import numpy as np
import pytest
import torch
from fakes.models import assert_adds_up, row, tensors_of, traces_left

os.environ["HF_HUB_OFFLINE"] = "1"
transformers = pytest.importorskip("transformers")

import pywatt  # noqa: E402  (what comes first must be set before transformers is imported)

BATCHES = 3

# Each batch once, and a replay long enough to have caught modules of every kind.
OPTIONS = {"sensors": "cpu:estimated", "repeat": False, "budget_s": 2.0}


def tokens(length=16):
    generator = torch.Generator().manual_seed(0)
    return [
        {"input_ids": torch.randint(1, 90, (2, length), generator=generator)}
        for _ in range(BATCHES)
    ]


def images():
    generator = torch.Generator().manual_seed(0)
    return [
        {"pixel_values": torch.randn(2, 3, 32, 32, generator=generator)} for _ in range(BATCHES)
    ]


def resnet():
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], layer_type="basic", num_labels=5
    )
    return transformers.ResNetForImageClassification(config), images(), {"resnet.embedder": 1}


def vit():
    config = transformers.ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        num_labels=5,
    )
    return transformers.ViTForImageClassification(config), images(), {"classifier": 1}


def gpt2():
    config = transformers.GPT2Config(vocab_size=99, n_positions=64, n_embd=32, n_layer=2, n_head=4)
    return transformers.GPT2LMHeadModel(config), tokens(), {"transformer.h.1.mlp": 1, "lm_head": 1}


def t5():
    config = transformers.T5Config(
        vocab_size=99, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4
    )
    batches = [batch | {"decoder_input_ids": batch["input_ids"][:, :4]} for batch in tokens()]
    calls = {"encoder.block.1": 1, "decoder.block.1": 1}
    return transformers.T5ForConditionalGeneration(config), batches, calls


def mixture_of_experts():
    config = transformers.MixtralConfig(
        vocab_size=99,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=4,
        max_position_embeddings=64,
    )
    return transformers.MixtralForCausalLM(config), tokens(), {"model.layers.1.mlp": 1}


MODELS = {
    "resnet": resnet,
    "vit": vit,
    "gpt2": gpt2,
    "t5": t5,
    "mixture of experts": mixture_of_experts,
}


def calls_counted(model, batches):
    """How often each module is called, counted by hooks of our own, and what the model gives."""
    counted = dict.fromkeys((name for name, _ in model.named_modules()), 0)
    model = copy.deepcopy(model)
    for name, module in model.named_modules():
        module.register_forward_pre_hook(
            lambda *_, name=name: counted.__setitem__(name, counted[name] + 1)
        )
    with torch.no_grad():
        return counted, [tensors_of(model(**batch)) for batch in batches]


@pytest.mark.parametrize("name", MODELS)
def test_every_invariant(name, tmp_path):
    torch.manual_seed(0)
    model, batches, calls_a_batch = MODELS[name]()
    model.eval()
    counted, expected = calls_counted(model, batches)
    before, random_state = traces_left(model), torch.get_rng_state()
    given = []

    def forward(model, batch):
        with torch.no_grad():
            output = model(**batch)
        given.append(tensors_of(output))
        return output

    profile = pywatt.profile(model, batches, forward=forward, **OPTIONS)

    # One pass to warm up, then the run, then what replay does with the first batch.
    for seen, wanted in zip(given[1 : 1 + BATCHES], expected, strict=True):
        assert len(seen) == len(wanted) > 0
        assert all(torch.equal(a, b) for a, b in zip(seen, wanted, strict=True))
    assert traces_left(model) == before
    assert torch.equal(torch.get_rng_state(), random_state)

    assert {entry.name: entry.calls for entry in profile.layers} == counted
    for layer, calls in calls_a_batch.items():
        assert row(profile, layer).calls == calls * BATCHES
    assert row(profile, "").parameters == sum(p.numel() for p in model.parameters())

    assert profile.energy_j > 0
    assert profile.duration_s > 0
    assert_adds_up(profile)
    assert (profile.batches, profile.samples) == (BATCHES, 2 * BATCHES)
    assert profile.accuracy is None
    assert profile.estimated
    assert profile.label == "estimated"
    for entry in profile.layers:
        if entry.calls == 0:
            assert (entry.self_energy_j, entry.resolved) == (0.0, None)
            continue
        stds = (entry.energy_j_std, entry.self_energy_j_std)
        assert all(math.isfinite(std) and std >= 0 for std in stds)
        assert entry.energy_j >= entry.self_energy_j - 1e-9
        assert entry.time_s >= entry.self_time_s >= 0

    table = str(profile)
    assert type(model).__name__ in table
    assert "estimated" in table
    profile.save(tmp_path / "run.json")
    loaded = pywatt.load(tmp_path / "run.json")
    assert loaded == profile
    trace, again = profile.traces["cpu:estimated"], loaded.traces["cpu:estimated"]
    assert np.array_equal(trace.energy_j, again.energy_j)
    assert trace.quality == again.quality


def test_generate_is_many_calls():
    model, batches, _ = gpt2()
    model.eval()

    def generate(model, batch):
        return model.generate(
            **batch,
            attention_mask=torch.ones_like(batch["input_ids"]),
            max_new_tokens=6,
            min_new_tokens=6,
            do_sample=True,
            pad_token_id=0,
        )

    torch.manual_seed(3)
    expected = [generate(model, batch) for batch in batches]
    torch.manual_seed(3)
    given = []
    profile = pywatt.profile(
        model,
        batches,
        forward=lambda model, batch: given.append(generate(model, batch)),
        **OPTIONS,
    )
    run = given[1 : 1 + BATCHES]
    assert all(torch.equal(a, b) for a, b in zip(run, expected, strict=True))
    assert row(profile, "").calls == row(profile, "lm_head").calls == 6 * BATCHES
    assert_adds_up(profile)


def test_a_classifier_of_images_has_an_accuracy():
    model, batches, _ = vit()
    model.eval()
    with torch.no_grad():
        labeled = [batch | {"labels": model(**batch).logits.argmax(1)} for batch in batches]
    labeled[0]["labels"][0] = (labeled[0]["labels"][0] + 1) % 5
    profile = pywatt.profile(model, labeled, **OPTIONS)
    assert profile.accuracy == pytest.approx(5 / 6)
    assert profile.score is not None


def test_labels_of_a_language_model_have_no_accuracy():
    model, batches, _ = gpt2()
    labeled = [transformers.BatchEncoding(b | {"labels": b["input_ids"]}) for b in batches]
    profile = pywatt.profile(model.eval(), labeled, device="cpu", **OPTIONS)
    assert profile.accuracy is None
    assert profile.samples == 2 * BATCHES
