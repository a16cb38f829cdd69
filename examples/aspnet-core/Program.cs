// A shop's backend in ASP.NET Core: it has no login code, and knows its user from the headers that Menshen sets.
var builder = WebApplication.CreateBuilder(args);
// With assertions, nobody but Menshen can say who the user is, even if others reach this server.
var jwks = builder.Configuration["MENSHEN_JWKS"];
if (jwks is not null) builder.Services.AddAssertion(jwks, builder.Configuration["MENSHEN_AUDIENCE"]!);

var app = builder.Build();
var orders = app.MapGet("/orders", (HttpRequest request) =>
{
    if (jwks is not null)
    {
        var claims = request.HttpContext.User;
        return new { user = claims.FindFirst("sub")?.Value, app = claims.FindFirst("app")?.Value };
    }
    // The rule of WeChat Cloud Run: only a request with a source is somebody's.
    var known = !string.IsNullOrEmpty(request.Headers["X-WX-SOURCE"]);
    string? Header(string name) => known ? request.Headers[name].ToString() : null;
    return new { user = Header("X-WX-OPENID"), app = Header("X-Menshen-App") };
});
if (jwks is not null) orders.RequireAuthorization();

app.Run("http://127.0.0.1:3000");
