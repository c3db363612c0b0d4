# SPDX-License-Identifier: Apache-2.0
"""What the panel says, for translators.

``python -m korora_tools.horizon.messages``, with the Python of Horizon's
environment, reads code and templates, and brings the template of catalogues,
each language's catalogue and its compiled form up to date. ``--check``
only says what is missing.
"""

from __future__ import annotations

import io
import json
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from korora_tools import checkout

PANEL = checkout.ROOT / 'korora_dashboard'
LOCALE = PANEL / 'locale'
POT = LOCALE / 'django.pot'
_KEYWORDS: dict[str, Any] = {
    '_': None,
    'gettext': None,
    'gettext_lazy': None,
    'gettext_noop': None,
    'ngettext': (1, 2),
    'pgettext': ((1, 'c'), 2),
}


def check(python: pathlib.Path) -> dict[str, Any]:
    """What the catalogues lack, asked in Horizon's environment.

    :returns: ``messages``, ``languages`` and, in sentences,
        ``untranslated``.
    """
    from korora_tools import ui
    from korora_tools.horizon import environment

    done = environment.run(
        python,
        ['-m', 'korora_tools.horizon.messages', '--check'],
        {'PYTHONPATH': f'{checkout.ROOT}:{checkout.ROOT}/tools'},
    )
    if done.returncode:
        raise ui.Problem(f'messages cannot be read: {done.stderr[-500:]}')
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _catalog() -> Any:
    """All messages, with the files that they are in."""
    from babel.messages import catalog

    made = catalog.Catalog(
        project='korora-nova',
        header_comment='# SPDX-License-Identifier: Apache-2.0',
        charset='utf-8',
        fuzzy=False,
    )
    for path, text in _sources():
        for message, context in _messages(text):
            name = str(path.relative_to(checkout.ROOT))
            made.add(message, locations=[(name, 0)], context=context)
    return made


def _sources() -> Iterator[tuple[pathlib.Path, str]]:
    """Python text; templates as Django makes Python text of them."""
    import django
    from django.conf import settings
    from django.utils.translation import template

    if not settings.configured:
        settings.configure()
        django.setup()
    for path in sorted(PANEL.rglob('*.py')):
        yield path, path.read_text()
    for path in sorted(PANEL.rglob('*.html')):
        yield path, template.templatize(path.read_text(), origin=str(path))


def _messages(text: str) -> Iterator[tuple[Any, str | None]]:
    from babel.messages import extract

    found = extract.extract(
        'python', io.BytesIO(text.encode()), _KEYWORDS, options={}
    )
    for _, message, _, context in found:
        yield message, context


def _languages() -> Sequence[pathlib.Path]:
    return sorted(LOCALE.glob('*/LC_MESSAGES/django.po'))


def read(path: pathlib.Path) -> Any:
    """A catalogue, of a language or for all of them."""
    from babel.messages import pofile

    language = None if path == POT else path.parts[-3]
    with path.open('rb') as file:
        return pofile.read_po(file, locale=language)


def _compiled(found: Any) -> bytes:
    from babel.messages import mofile

    made = io.BytesIO()
    mofile.write_mo(made, found)
    return made.getvalue()


def _text(found: Any) -> bytes:
    from babel.messages import pofile

    made = io.BytesIO()
    pofile.write_po(
        made,
        found,
        width=79,
        omit_header=False,
        include_lineno=False,
        sort_output=True,
        ignore_obsolete=True,
    )
    return made.getvalue()


def _update() -> None:
    wanted = _catalog()
    POT.write_bytes(_text(wanted))
    for path in _languages():
        found = read(path)
        found.update(wanted, no_fuzzy_matching=True)
        path.write_bytes(_text(found))
        path.with_suffix('.mo').write_bytes(_compiled(read(path)))


def _report() -> dict[str, Any]:
    wanted = _catalog()
    return {
        'messages': len(wanted),
        'languages': [path.parts[-3] for path in _languages()],
        'untranslated': lacking(wanted),
    }


def lacking(catalog: Any) -> list[str]:
    """What languages lack of a catalogue, in sentences."""
    wanted = {(one.id, one.context) for one in catalog if one.id}
    missing = []
    for path in _languages():
        name = path.parts[-3]
        found = read(path)
        has = {
            (one.id, one.context)
            for one in found
            if one.id and one.string and all(_strings(one.string))
        }
        missing += [f'{name} lacks {message!r}' for message, _ in wanted - has]
        if path.with_suffix('.mo').read_bytes() != _compiled(found):
            missing.append(f'{name} is not compiled as it is')
    return sorted(missing)


def _strings(found: Any) -> Sequence[str]:
    return [found] if isinstance(found, str) else found


if __name__ == '__main__':
    if '--check' in sys.argv:
        sys.stdout.write(json.dumps(_report()) + '\n')
    else:
        _update()
