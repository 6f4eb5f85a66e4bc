// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package printer

import (
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
	"github.com/halfclose/halfclose/pkg/term"
)

func statePaint(text string) term.Style {
	if text == inetdiag.CloseWait.String() || text == inetdiag.FinWait2.String() {
		return term.Odd
	}
	return term.Plain
}

func verdictPaint(text string) term.Style {
	if text == policy.Destroyable.String() {
		return term.Bad
	}
	return term.Plain
}

func outcomePaint(text string) term.Style {
	if text == api.Destroyed {
		return term.Bad
	}
	return term.Odd
}

func modePaint(text string) term.Style {
	switch text {
	case policy.Destroy.String():
		return term.Good
	case policy.Off.String():
		return term.Plain
	}
	return term.Odd
}
