// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package describe

import "github.com/halfclose/halfclose/pkg/api"

// historyFindings reports damage to the history on disk.
func historyFindings(h *api.HistoryStoreView) []Finding {
	if h == nil || h.Damage == "" {
		return nil
	}
	return []Finding{{Kind: HistoryDamaged, Text: h.Damage}}
}
