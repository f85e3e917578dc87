import re

import jinja2
import pytest

from cnnlab.pages import Page, page, render

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"alert(1)\">'&"


@pytest.fixture
def template(monkeypatch):
    """Makes a template of its text, beside those there are."""

    def template(text):
        ours = jinja2.DictLoader({"tried.html": text})
        both = jinja2.ChoiceLoader([ours, jinja2.PackageLoader("cnnlab.pages")])
        monkeypatch.setattr(page, "_TEMPLATES", page._TEMPLATES.overlay(loader=both))
        return "tried.html"

    return template


WHOLE = """{% extends "base.html" %}
{% block title %}{{ name }}{% endblock %}
{% block body %}<p id="text">{{ name }}</p><p id="made"></p>{% endblock %}
{% block script %}
document.getElementById("made").textContent = {{ name | tojson }};
{% endblock %}"""


class TestRender:
    def test_a_hostile_name_stays_text(self, template, visit):
        opened = visit(render(template(WHOLE), name=HOSTILE))
        assert opened.inner_text("#text") == HOSTILE
        assert opened.inner_text("#made") == HOSTILE
        assert opened.title() == HOSTILE
        assert opened.locator("img").count() == 0

    def test_a_value_left_out_is_an_error(self, template):
        with pytest.raises(jinja2.UndefinedError, match="name"):
            render(template(WHOLE))

    def test_a_page_loads_nothing(self, template, chromium):
        html = render(template(WHOLE), name="a")
        context = chromium.new_context()
        opened = context.new_page()
        opened.set_content(html)
        outcome = opened.evaluate("fetch('http://127.0.0.1:9/').then(() => 'sent', e => 'refused')")
        seen = opened.evaluate(
            "new Promise(done => { document.addEventListener('securitypolicyviolation',"
            " e => done(e.effectiveDirective)); fetch('http://127.0.0.1:9/').catch(() => {}) })"
        )
        context.close()
        assert (outcome, seen) == ("refused", "connect-src")


class TestPage:
    def test_saved_as_it_is(self, tmp_path):
        path = Page("<p>é</p>").save(tmp_path / "page.html")
        assert path.read_bytes() == "<p>é</p>".encode()

    def test_framed_in_a_notebook(self, visit):
        inner = '<p id="inside" title="a &amp; b">"quoted" &lt;p&gt;</p>'
        opened = visit(Page(inner, height=321)._repr_html_())
        frame = opened.frame_locator("iframe")
        assert frame.locator("#inside").inner_text() == '"quoted" <p>'
        assert opened.locator("iframe").bounding_box()["height"] == 321
        assert re.search(r'sandbox="allow-scripts"', opened.content())
