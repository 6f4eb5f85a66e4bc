// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package top

import (
	"strings"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/halfclose/halfclose/internal/safetext"
	"github.com/halfclose/halfclose/pkg/term"
)

// prompt is a question to the operator in the last line of the screen: a text, or one of a few keys.
type prompt struct {
	label  string
	text   string
	keys   map[string]func() tea.Cmd // by key; any other key cancels. nil: the answer is a text
	change func(text string)         // called with each change of the text, nil if there is nothing to do
	done   func(text string) tea.Cmd // called with the text
	cancel func()                    // nil if there is nothing to do
}

// maxPrompt is the longest text of a prompt, in bytes.
const maxPrompt = 200

func (p *prompt) line() string { return term.Strong.Paint(p.label) + " " + safetext.Escape(p.text) }

// column returns the place of the cursor.
func (p *prompt) column() int { return ansi.StringWidth(p.line()) }

// answerPrompt handles a key while a prompt is shown.
func (m *model) answerPrompt(msg tea.KeyPressMsg) tea.Cmd {
	p := m.prompt
	k := msg.String()
	if p.keys != nil {
		m.prompt = nil
		if answer := p.keys[k]; answer != nil {
			return answer()
		}
		return nil
	}
	was := p.text
	switch k {
	case "enter":
		m.prompt = nil
		return p.done(strings.TrimSpace(p.text))
	case "esc":
		m.prompt = nil
		if p.cancel != nil {
			p.cancel()
		}
		return nil
	case "backspace", "ctrl+h":
		_, n := utf8.DecodeLastRuneInString(p.text)
		p.text = p.text[:len(p.text)-n]
	case "ctrl+u":
		p.text = ""
	case "ctrl+w":
		p.text = p.text[:strings.LastIndex(strings.TrimRight(p.text, " "), " ")+1]
	default:
		p.text = safetext.Cut(p.text+strings.Map(printable, msg.Text), maxPrompt)
	}
	if p.change != nil && p.text != was {
		p.change(p.text)
	}
	return nil
}

// printable maps control characters of pasted text to spaces.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}

// promptFilter asks for a filter, and applies it with each key.
func (m *model) promptFilter() tea.Cmd {
	l := m.list()
	before := l.filtered()
	m.prompt = &prompt{
		label: "Filter:", text: before, change: l.setFilter,
		done:   func(string) tea.Cmd { return nil },
		cancel: func() { l.setFilter(before) },
	}
	return nil
}

// promptNamespace asks for a namespace. The answer is that of the selected pod, unless the operator changes it.
func (m *model) promptNamespace() tea.Cmd {
	text := m.namespace
	if r, ok := m.pods.current(); ok && text == "" {
		text = r.a.Pod.Namespace
	}
	m.prompt = &prompt{label: "Namespace (empty: all):", text: text, done: func(text string) tea.Cmd {
		m.setNamespace(text)
		return nil
	}}
	return nil
}
