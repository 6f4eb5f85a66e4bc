// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"github.com/halfclose/halfclose/pkg/api"
	"github.com/halfclose/halfclose/pkg/inetdiag"
	"github.com/halfclose/halfclose/pkg/policy"
)

func statePaint(text string) style {
	if text == inetdiag.CloseWait.String() || text == inetdiag.FinWait2.String() {
		return odd
	}
	return plain
}

func verdictPaint(text string) style {
	if text == policy.Destroyable.String() {
		return bad
	}
	return plain
}

func outcomePaint(text string) style {
	if text == api.Destroyed {
		return bad
	}
	return odd
}

func modePaint(text string) style {
	switch text {
	case policy.Destroy.String():
		return good
	case policy.Off.String():
		return plain
	}
	return odd
}
