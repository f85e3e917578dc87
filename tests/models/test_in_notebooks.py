"""What a notebook shows of a network: its notation and its source, as text."""

from cnnlab import models
from cnnlab.models import Network
from cnnlab.models.airbench import AirBench
from cnnlab.models.pattern import Pattern

HOSTILE = "<script>alert('taken')</script>"
ESCAPED = "&lt;script&gt;alert(&#39;taken&#39;)&lt;/script&gt;"


def test_a_pattern_shows_its_notation():
    html = models.pattern("INPUT -> [CONV3-8 -> RELU]*2 -> FC", classes=10)._repr_html_()
    assert "<code>INPUT -&gt; [CONV3-8 -&gt; RELU]*2 -&gt; FC</code><br>5 layers;" in html
    assert f"<code>{ESCAPED}</code>" in Pattern(HOSTILE, ())._repr_html_()


def test_a_network_shows_its_source_and_its_notation_if_it_has_one():
    html = models.network("vgg16")._repr_html_()
    assert "Simonyan" in html
    assert "<p><code>INPUT -&gt; CONV3-64 -&gt; RELU -&gt; CONV3-64 -&gt; RELU -&gt; POOL2" in html
    assert "input 224x224x3" in html
    named = Network(lambda: Pattern(HOSTILE, ()), (8, 8, 1), HOSTILE)._repr_html_()
    assert named.count(ESCAPED) == 2
    assert "<script" not in named


def test_a_model_shows_what_it_is_made_with():
    html = models.create("resnet20", classes=7, shortcut="B")._repr_html_()
    for name, value in {"blocks": "(3, 3, 3)", "classes": "7", "shortcut": "&#39;B&#39;"}.items():
        assert f'>{name}</th><td style="text-align: left"><code>{value}</code>' in html
    assert (
        html
        in models.Network(
            lambda: models.create("resnet20", classes=7, shortcut="B"), (32, 32, 3), "s"
        )._repr_html_()
    )
    assert ESCAPED in AirBench(Pattern(HOSTILE, ()))._repr_html_()
    assert "INPUT -&gt; WHITEN2 -&gt; GELU" in models.create("airbench94")._repr_html_()
