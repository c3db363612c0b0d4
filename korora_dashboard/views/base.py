# SPDX-License-Identifier: Apache-2.0
"""What all pages share: where links lead, and what a failure looks like."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from django.core import paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext_lazy as _
from django.views import generic

from korora_dashboard import proofs, service, words
from korora_nova import client, errors

LOG = logging.getLogger(__name__)

#: Rows of a page.
PER_PAGE = 50
#: What is not an error of the service's own making.
_STATUS = {errors.Forbidden: 403, errors.NotFound: 404}
#: What an answer of another shape brings about.
_SHAPE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_TABS = (
    ('index', _('Hosts')),
    ('migrations', _('Migrations')),
    ('servers', _('Servers')),
    ('policies', _('Policies')),
)


def place(request: HttpRequest, name: str, *args: object) -> str:
    """Where a page is, in the dashboard that is being looked at.

    '' if there is none: no host of this service has a slash in its name.
    """
    match = request.resolver_match
    assert match is not None
    try:
        return reverse(f'{match.namespace}:{name}', args=args)
    except NoReverseMatch:
        return ''


class Page(generic.base.ContextMixin, generic.View):
    """One page, made of answers of the service.

    :cvar title: its heading; :cvar template: its name.
    :cvar tab: which of the tabs it belongs to.
    :cvar long: the service has to work the answer out first.
    """

    title: Any = ''
    template = ''
    tab = ''
    long = False

    def dispatch(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Answer; whatever the service does, with a page."""
        try:
            found: HttpResponse = super().dispatch(request, *args, **kwargs)
            return found
        except errors.KororaError as exc:
            LOG.warning('%s: %s', request.path, exc)
            return self._failed(request, exc)
        except _SHAPE as exc:
            # An answer of another shape: of another release, or of a liar.
            LOG.exception('An answer of the service cannot be shown')
            return self._failed(
                request,
                errors.Unavailable(
                    errors.Reason.SERVICE_UNAVAILABLE,
                    'The attestation service answered what this release of '
                    f'the panel cannot show ({type(exc).__name__}).',
                ),
            )

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        """Show it."""
        return self.show(self.data(**kwargs))

    def data(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """What the template needs; arguments are those of the path."""
        raise NotImplementedError

    def show(self, context: dict[str, Any], code: int = 200) -> HttpResponse:
        """Render the template."""
        return render(
            self.request,
            f'attestation/{self.template}.html',
            self.frame() | context,
            status=code,
        )

    def frame(self) -> dict[str, Any]:
        """What surrounds every page."""
        return {
            'page_title': self.title,
            'tabs': [
                (name, place(self.request, name), label, name == self.tab)
                for name, label in _TABS
            ],
            'home': place(self.request, 'index'),
        }

    @property
    def api(self) -> client.AttestationClient:
        """:raises Unavailable: there is no endpoint."""
        return service.connect(self.request, long=self.long)

    def place(self, name: str, *args: object) -> str:
        """See :func:`place`."""
        return place(self.request, name, *args)

    def may(self, rule: str) -> bool:
        """See :func:`.service.may`."""
        return service.may(self.request, rule)

    def rows(self, found: Sequence[Any]) -> dict[str, Any]:
        """One page of a list that the service gives as a whole."""
        pages = paginator.Paginator(found, PER_PAGE)
        page = pages.get_page(self.request.GET.get('page'))
        others = self.request.GET.copy()
        others.pop('page', None)
        query = others.urlencode()
        return {
            'rows': page.object_list,
            'page': page,
            'query': f'{query}&' if query else '',
        }

    def _failed(
        self, request: HttpRequest, exc: errors.KororaError
    ) -> HttpResponse:
        status = next(
            (code for cls, code in _STATUS.items() if isinstance(exc, cls)),
            503,
        )
        return render(
            request,
            'attestation/failed.html',
            self.frame()
            | {
                'reason': exc.reason,
                'sentence': exc.message,
                'refused': status == 403,
                'missing': status == 404,
                'page_title': _('Attestation'),
            },
            status=status,
        )


def trusted(api: client.AttestationClient) -> proofs.Trust | str:
    """The keys to verify with, or why there are none."""
    try:
        return proofs.trust(api)
    except errors.KororaError as exc:
        return str(exc)


def keyed(found: proofs.Trust | str) -> dict[str, Any]:
    """What a page says about these keys."""
    if isinstance(found, str):
        return {'keys_missing': found}
    return {'keys_pinned': found.pinned}


__all__ = ('PER_PAGE', 'Page', 'keyed', 'place', 'trusted', 'words')
