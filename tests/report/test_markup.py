from html.parser import HTMLParser

from hypothesis import given, settings
from hypothesis import strategies as st

from pmx_ray.report.markup import Markup, markup, tag


class _Seen(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text, self.titles = [], "", []

    def handle_starttag(self, name, attributes):
        self.tags.append(name)
        self.titles += [value for key, value in attributes if key == "title"]

    def handle_data(self, text):
        self.text += text


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=40))
def test_tag_when_any_text_then_it_stays_text(text):
    seen = _Seen()
    seen.feed(tag("p", text, title=text))
    seen.close()
    assert seen.tags == ["p"]
    assert seen.text == text
    assert seen.titles == ([text] if text else [])


def test_markup_when_already_markup_then_not_escaped_twice():
    assert markup(Markup("<b>x</b>"), [" & ", tag("i", "y")]) == "<b>x</b> &amp; <i>y</i>"


def test_tag_when_flags_then_bare_or_absent():
    assert tag("p", data_a=True, hidden=False, class_="") == "<p data-a></p>"


def test_tag_when_void_then_not_closed():
    assert tag("meta", name="a") == '<meta name="a">'
