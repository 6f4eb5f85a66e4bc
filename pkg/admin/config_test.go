// Copyright The halfclose Authors
// SPDX-License-Identifier: Apache-2.0

package admin_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/halfclose/halfclose/pkg/admin"
	"github.com/halfclose/halfclose/pkg/api"
)

func TestALogLevelRequestIsRefusedOrObeyed(t *testing.T) {
	var got []any
	s := admin.Server{Log: slog.New(slog.DiscardHandler), Process: admin.Process{
		SetLogLevel: func(level slog.Level, lasts time.Duration, who string) api.LogLevelView {
			got = []any{level, lasts, who}
			return api.LogLevelView{Level: "set"}
		},
	}}
	for body, want := range map[string][]any{
		`{"level": "debug", "forSeconds": 90, "who": "al\nice"}`: {slog.LevelDebug, 90 * time.Second, "al?ice"},
		`{"level": "error"}`:   {slog.LevelError, time.Duration(0), "unknown"},
		`{"level": "verbose"}`: nil, `{"level": "debug", "forSeconds": -1}`: nil, `{"level": "debug", "forSeconds": 1e12}`: nil, `{"level": 1}`: nil, `{"level": "debug"} {}`: nil,
		`{"level": "debug", "level": "error"}`: nil,
		`{"level": "debug", "until": "x"}`:     nil, ``: nil, `{}`: nil, `"debug"`: nil, `{"level": "` + strings.Repeat("x", 1<<20) + `"}`: nil,
	} {
		got = nil
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPut, "/v1/log-level", strings.NewReader(body)))
		if (w.Code == http.StatusOK) != (want != nil) || w.Code != http.StatusOK && w.Code/100 != 4 {
			t.Errorf("%.60s: status %d: %s", body, w.Code, w.Body)
		}
		if len(got) != len(want) || len(want) > 0 && (got[0] != want[0] || got[1] != want[1] || got[2] != want[2]) {
			t.Errorf("%.60s: %v, want %v", body, got, want)
		}
	}
}
