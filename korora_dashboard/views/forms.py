# SPDX-License-Identifier: Apache-2.0
"""What changes something: shown, confirmed, sent once, and told."""

from __future__ import annotations

import json
from typing import Any

import yaml
from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from korora_dashboard import words
from korora_dashboard.views import base, policies
from korora_nova import errors

#: Characters of a document that is tried.
LONGEST = 1 << 18


class Form(base.Page):
    """A page with a form; what the service refuses stays on it."""

    def form(self, *data: Any) -> forms.Form:
        """The form, with what was sent if anything was."""
        raise NotImplementedError

    def do(self, given: dict[str, Any], **kwargs: Any) -> HttpResponse:
        """Send it to the service.

        :param given: what is valid as far as the form knows.
        """
        raise NotImplementedError

    def get(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        """Show the form."""
        return self.show({'form': self.form(), **self.data(**kwargs)})

    def post(self, request: HttpRequest, **kwargs: Any) -> HttpResponse:
        """Do it, or say why not."""
        form = self.form(request.POST)
        if not form.is_valid():
            return self.show({'form': form, **self.data(**kwargs)}, 400)
        try:
            return self.do(form.cleaned_data, **kwargs)
        except errors.KororaError as exc:
            form.add_error(None, str(exc))
            found = {'form': form, **self.data(**kwargs)}
            return self.show(found, exc.code)

    def done(self, sentence: str, name: str, *args: object) -> HttpResponse:
        """Say so on the next page."""
        messages.success(self.request, sentence)
        return HttpResponseRedirect(self.place(name, *args))


class Approval(forms.Form):
    """The hash that was looked at is the one that is approved."""

    ek_hash = forms.CharField(widget=forms.HiddenInput)
    compared = forms.BooleanField(
        label=gettext_lazy(
            'I have compared this hash with the one that the host itself '
            'shows.'
        )
    )
    uncertified = forms.BooleanField(
        required=False,
        label=gettext_lazy(
            'No TPM maker vouches for this key; I vouch for it.'
        ),
    )


class ApproveHost(Form):
    """Let a host attest."""

    template, tab = 'approve', 'index'

    def form(self, *data: Any) -> forms.Form:
        """See :meth:`.Form.form`."""
        return Approval(*data)

    def data(self, host: str, **_kwargs: Any) -> dict[str, Any]:
        """See :meth:`.Page.data`."""
        shown = self.api.get_host(host)
        return {
            'page_title': _('Approve host %(host)s') % {'host': host},
            'host': shown,
            'status': words.mark(words.STATUSES, shown.get('status')),
            'uncertified': shown.get('certified') is False,
            'enrolled': words.moment(shown.get('enrolled_at')),
            'back': self.place('host', host),
        }

    def do(self, given: dict[str, Any], **kwargs: Any) -> HttpResponse:
        """See :meth:`.Form.do`."""
        host = str(kwargs['host'])
        self.api.approve_host(
            host, given['ek_hash'], uncertified=given['uncertified']
        )
        return self.done(
            _('The host %(host)s is approved.') % {'host': host}, 'host', host
        )


class Reference(forms.Form):
    """What is learned from whom."""

    name = forms.RegexField(
        r'\A[A-Za-z0-9._:-]{1,255}\Z',
        label=gettext_lazy('Name of the reference'),
        help_text=gettext_lazy('Letters, digits, dot, colon, dash.'),
    )
    host = forms.ChoiceField(
        label=gettext_lazy('Host that is as all should be'),
        help_text=gettext_lazy(
            'What it showed last counts as good from now on.'
        ),
    )


class CreateReference(Form):
    """Learn reference values from a host."""

    title = gettext_lazy('Create a reference')
    template, tab = 'create_reference', 'policies'

    def form(self, *data: Any) -> forms.Form:
        """See :meth:`.Form.form`."""
        made = Reference(
            *data, initial={'host': self.request.GET.get('host', '')}
        )
        field = made.fields['host']
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            (str(one.get('name')), f'{one.get("name")} ({one.get("tier")})')
            for one in self.api.list_hosts()
            if one.get('last_attested') is not None
        ]
        return made

    def data(self, **_kwargs: Any) -> dict[str, Any]:
        """See :meth:`.Page.data`."""
        return {'back': self.place('policies')}

    def do(self, given: dict[str, Any], **kwargs: Any) -> HttpResponse:
        """See :meth:`.Form.do`."""
        self.api.create_reference(given['name'], given['host'])
        return self.done(
            _('The reference %(name)s was learned.') % given, 'policies'
        )


class Document(forms.Form):
    """A policy that is not stored."""

    document = forms.CharField(
        max_length=LONGEST,
        widget=forms.Textarea(attrs={'rows': 16, 'spellcheck': 'false'}),
        label=gettext_lazy('Document of the policy, YAML or JSON'),
    )

    def clean_document(self) -> dict[str, Any]:
        """The document, read."""
        try:
            found = yaml.safe_load(_without_aliases(self.data['document']))
            json.dumps(found)
        except (yaml.YAMLError, ValueError, TypeError, RecursionError):
            raise forms.ValidationError(
                _('That is neither YAML nor JSON of plain values.')
            ) from None
        if not isinstance(found, dict):
            raise forms.ValidationError(_('That is not an object.'))
        return found


def _without_aliases(text: str) -> str:
    """:raises YAMLError: a few of them can name gigabytes."""
    for token in yaml.scan(text):
        if isinstance(token, yaml.AliasToken):
            raise yaml.YAMLError
    return text


class TryPolicy(Form):
    """A document, tried on the fleet before it is stored anywhere."""

    title = gettext_lazy('Try a policy')
    template, tab = 'try_policy', 'policies'
    long = True

    def form(self, *data: Any) -> forms.Form:
        """See :meth:`.Form.form`."""
        return Document(*data)

    def data(self, **_kwargs: Any) -> dict[str, Any]:
        """See :meth:`.Page.data`."""
        return {'back': self.place('policies')}

    def do(self, given: dict[str, Any], **kwargs: Any) -> HttpResponse:
        """See :meth:`.Form.do`; a dry run only."""
        found = self.api.propose_policy(given['document'])
        return self.show(
            {
                'form': self.form(self.request.POST),
                'verdicts': policies.verdicts(self, found),
                'more': bool(found.get('next')),
                'tried': True,
                **self.data(),
            }
        )
