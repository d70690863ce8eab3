"""Stage `demo`: the embedded forgery task, drawn from bundled photographs."""
